//! The objects, and the graph of what they refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::{Object, ObjectId};

use super::facts::Fact;
use crate::graph::Graph;

#[derive(Debug, Default)]
pub(crate) struct World {
    /// In the order of kind, namespace and name: a kind's objects stand together.
    objects: BTreeMap<ObjectId, Arc<Object>>,
    pub(crate) graph: Graph,
}

impl World {
    pub(crate) fn get(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Puts an object in; says which facts changed. An equal object changes none.
    pub(crate) fn put(&mut self, object: Arc<Object>, changed: &mut Vec<Fact>) {
        let id = object.id.clone();
        let old = self.objects.insert(id.clone(), object.clone());
        if old.is_some_and(|old| old == object) {
            return;
        }
        changed.push(Fact::Object(id));
        self.graph.put(&object, changed);
    }

    pub(crate) fn remove(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        if self.objects.remove(id).is_some() {
            changed.push(Fact::Object(id.clone()));
            self.graph.remove(id, changed);
        }
    }
}
