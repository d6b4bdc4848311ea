//! The objects, and the graph of what they refer to.

use std::collections::BTreeSet;
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::derived::{self, Derived};
use super::facts::{AbsentObject, Fact, Lists};
use crate::graph::Graph;

#[derive(Debug, Default)]
pub(crate) struct World {
    /// The objects stand in the graph.
    pub(crate) graph: Graph,
    /// In the order of kind, namespace and name: a kind's objects stand together.
    members: BTreeSet<ObjectId>,
    /// The lists of members that somebody looked at.
    pub(crate) lists: Lists,
    derived: Derived,
    /// Objects that are there because others stand for them.
    standing_in: BTreeSet<ObjectId>,
}

impl World {
    pub(crate) fn contains(&self, id: &ObjectId) -> bool {
        self.graph.index(id).and_then(|index| self.graph.object(index)).is_some()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.members.iter().filter_map(|id| self.graph.object(self.graph.index(id)?))
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
            self.members.insert(object.id.clone());
        }
        if old.is_none() || object.id.kind == Kind::ReferenceGrant {
            self.members_changed(&object.id, changed);
        }
        false
    }

    fn unset(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        if self.graph.remove(id, changed) {
            self.members.remove(id);
            self.members_changed(id, changed);
        }
    }

    /// The objects of a kind, in a namespace or in all of them.
    pub(crate) fn members(&self, kind: Kind, namespace: Option<&str>) -> Vec<&ObjectId> {
        let first = ObjectId { kind, namespace: namespace.unwrap_or_default().into(), name: SmolStr::default() };
        let ids = self.members.range(first..);
        ids.take_while(|id| id.kind == kind && namespace.is_none_or(|namespace| id.namespace == namespace)).collect()
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
