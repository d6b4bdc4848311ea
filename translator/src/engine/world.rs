//! The objects, and the graph of what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::derived::{self, Derived};
use super::facts::{AbsentObject, Fact, Lists};
use crate::graph::{Graph, ObjectIndex};

#[derive(Debug, Default)]
pub(crate) struct World {
    /// The objects stand in the graph.
    pub(crate) graph: Graph,
    /// The objects of a kind in a namespace, sorted by number: what is new goes to the end.
    members: BTreeMap<(Kind, SmolStr), Vec<ObjectIndex>>,
    /// The lists of members that somebody looked at.
    pub(crate) lists: Lists,
    derived: Derived,
    /// Objects that are there because others stand for them.
    standing_in: BTreeSet<ObjectId>,
}

impl World {
    /// The graph's copy of an object's name, and whether the object is there.
    pub(crate) fn known_as(&self, id: ObjectId) -> (ObjectId, bool) {
        let index = self.graph.index(&id);
        let known = index.and_then(|index| self.graph.id(index)).cloned();
        (known.unwrap_or(id), index.is_some_and(|index| self.graph.object(index).is_some()))
    }

    pub(crate) fn contains(&self, id: &ObjectId) -> bool {
        self.graph.index(id).and_then(|index| self.graph.object(index)).is_some()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        let mut all: Vec<_> = self.members.values().flatten().filter_map(|index| self.graph.object(*index)).collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all.into_iter()
    }

    /// Puts an object in; says which facts changed. An equal object changes none; true when it merely moved to another
    /// place, which only findings show.
    pub(crate) fn put(&mut self, object: Arc<Object>, changed: &mut Vec<Fact>) -> bool {
        let source = object.id.clone();
        if !self.standing_in.is_empty() {
            self.standing_in.remove(&source);
        }
        let stands_for = derived::of(&object);
        let moved = self.set(object, changed);
        self.derive(&source, stands_for, changed);
        moved
    }

    pub(crate) fn remove(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        if self.standing_in.contains(id) {
            return;
        }
        match self.derived.get(id).cloned() {
            Some(substitute) => {
                self.standing_in.insert(id.clone());
                self.set(substitute, changed);
            }
            None => self.unset(id, changed),
        }
        self.derive(id, Vec::new(), changed);
    }

    fn derive(&mut self, source: &ObjectId, objects: Vec<Arc<Object>>, changed: &mut Vec<Fact>) {
        for id in self.derived.note(source, objects) {
            let written = self.contains(&id) && !self.standing_in.contains(&id);
            if written {
                continue;
            }
            match self.derived.get(&id).cloned() {
                Some(substitute) => {
                    self.standing_in.insert(id);
                    self.set(substitute, changed);
                }
                None => {
                    self.standing_in.remove(&id);
                    self.unset(&id, changed);
                }
            }
        }
    }

    fn set(&mut self, object: Arc<Object>, changed: &mut Vec<Fact>) -> bool {
        let old = self.graph.put(object.clone(), changed);
        if let Some(old) = old.as_ref().filter(|old| **old == object) {
            return old.origin != object.origin;
        }
        if old.is_none() {
            self.edit_members(&object.id, |members, index| {
                let at = members.partition_point(|member| *member < index);
                members.insert(at, index);
            });
        }
        if old.is_none() || object.id.kind == Kind::ReferenceGrant {
            self.members_changed(&object.id, changed);
        }
        false
    }

    fn unset(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        if self.contains(id) {
            self.edit_members(id, |members, index| {
                if let Ok(at) = members.binary_search(&index) {
                    members.remove(at);
                }
            });
        }
        if self.graph.remove(id, changed) {
            self.members_changed(id, changed);
        }
    }

    fn edit_members(&mut self, id: &ObjectId, edit: impl FnOnce(&mut Vec<ObjectIndex>, ObjectIndex)) {
        let Some(index) = self.graph.index(id) else { return };
        edit(self.members.entry((id.kind, id.namespace.clone())).or_default(), index);
    }

    /// The objects of a kind, in a namespace or in all of them.
    pub(crate) fn members(&self, kind: Kind, namespace: Option<&str>) -> Vec<&ObjectId> {
        let lists = self.members.range((kind, namespace.unwrap_or_default().into())..);
        let lists = lists.take_while(|((of, within), _)| {
            *of == kind && namespace.is_none_or(|namespace| within.as_str() == namespace)
        });
        let mut ids: Vec<_> = lists.flat_map(|(_, list)| list).filter_map(|index| self.graph.id(*index)).collect();
        ids.sort_unstable();
        ids
    }

    /// A grant counts as a member anew whenever it changes: who reads the grants reads what they say.
    fn members_changed(&self, id: &ObjectId, changed: &mut Vec<Fact>) {
        for namespace in [Some(&id.namespace), None] {
            changed.extend(self.lists.find(id.kind, namespace).map(Fact::Members));
        }
    }

    /// A fact about an object that had no number when it was read.
    pub(crate) fn number(&mut self, absent: AbsentObject) -> Fact {
        match absent {
            AbsentObject::Content(id) => Fact::Object(self.graph.place(&id)),
            AbsentObject::Outgoing(id) => Fact::Outgoing(self.graph.place(&id)),
            AbsentObject::Incoming(id, role) => Fact::Incoming(self.graph.place(&id), role),
            AbsentObject::Members(kind, namespace) => Fact::Members(self.lists.number(kind, namespace)),
        }
    }
}
