//! The objects, and the graph of what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::derived::{self, Derived};
use super::facts::Fact;
use crate::graph::Graph;

#[derive(Debug, Default)]
pub(crate) struct World {
    /// In the order of kind, namespace and name: a kind's objects stand together.
    objects: BTreeMap<ObjectId, Arc<Object>>,
    derived: Derived,
    /// Objects that are there because others stand for them.
    standing_in: BTreeSet<ObjectId>,
    pub(crate) graph: Graph,
}

impl World {
    pub(crate) fn get(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Puts an object in; says which facts changed. An equal object changes none; true when it merely moved to another
    /// place, which only findings show.
    pub(crate) fn put(&mut self, object: Arc<Object>, changed: &mut Vec<Fact>) -> bool {
        self.standing_in.remove(&object.id);
        let source = object.id.clone();
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
            let written = self.objects.contains_key(&id) && !self.standing_in.contains(&id);
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
        let id = object.id.clone();
        let old = self.objects.insert(id.clone(), object.clone());
        if let Some(old) = old.as_ref().filter(|old| **old == object) {
            return old.origin != object.origin;
        }
        if old.is_none() || id.kind == Kind::ReferenceGrant {
            members_changed(&id, changed);
        }
        changed.push(Fact::Object(id));
        self.graph.put(&object, changed);
        false
    }

    fn unset(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        if self.objects.remove(id).is_some() {
            members_changed(id, changed);
            changed.push(Fact::Object(id.clone()));
            self.graph.remove(id, changed);
        }
    }

    /// The objects of a kind, in a namespace or in all of them.
    pub(crate) fn members(&self, kind: Kind, namespace: Option<&str>) -> Vec<&ObjectId> {
        let first = ObjectId { kind, namespace: namespace.unwrap_or_default().into(), name: SmolStr::default() };
        let ids = self.objects.range(first..).map(|(id, _)| id);
        ids.take_while(|id| id.kind == kind && namespace.is_none_or(|namespace| id.namespace == namespace)).collect()
    }
}

/// A grant counts as a member anew whenever it changes: who reads the grants reads what they say.
fn members_changed(id: &ObjectId, changed: &mut Vec<Fact>) {
    changed.push(Fact::Members(id.kind, Some(id.namespace.clone())));
    changed.push(Fact::Members(id.kind, None));
}
