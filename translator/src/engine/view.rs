//! What a unit sees while it runs. Every read is recorded.

use std::cell::RefCell;
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId, Typed};
use smol_str::SmolStr;

use super::facts::Fact;
use super::product::Made;
use super::unit::UnitId;
use super::{Units, World};
use crate::Options;
use crate::graph::{Edge, Role};

pub(crate) struct View<'a> {
    pub(crate) options: &'a Options,
    world: &'a World,
    units: &'a Units,
    unit: &'a UnitId,
    reads: RefCell<Vec<Fact>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(options: &'a Options, world: &'a World, units: &'a Units, unit: &'a UnitId) -> Self {
        Self { options, world, units, unit, reads: RefCell::default() }
    }

    pub(crate) fn into_reads(self) -> Vec<Fact> {
        self.reads.into_inner()
    }

    fn read(&self, fact: Fact) {
        let mut reads = self.reads.borrow_mut();
        // What is read several times is mostly read several times in a row.
        if reads.last() != Some(&fact) {
            reads.push(fact);
        }
    }

    pub(crate) fn object(&self, id: &ObjectId) -> Option<&'a Arc<Object>> {
        self.read(Fact::Object(id.clone()));
        self.world.get(id)
    }

    pub(crate) fn spec<T: Typed>(&self, id: &ObjectId) -> Option<&'a T> {
        self.object(id)?.spec::<T>()
    }

    /// The references that an object makes, in the order in which it makes them.
    pub(crate) fn references(&self, id: &ObjectId) -> Vec<&'a Edge> {
        self.read(Fact::Outgoing(id.clone()));
        self.world.graph.outgoing(id)
    }

    /// The reference that stands at a field.
    pub(crate) fn reference(&self, id: &ObjectId, path: &str) -> Option<&'a Edge> {
        self.references(id).into_iter().find(|edge| edge.path.as_str() == path)
    }

    /// The objects that refer to an object in a role, sorted.
    pub(crate) fn referrers(&self, id: &ObjectId, role: Role) -> Vec<ObjectId> {
        self.read(Fact::Incoming(id.clone(), role));
        self.world.graph.incoming(id, role)
    }

    /// Those of one kind.
    pub(crate) fn referrers_of(&self, id: &ObjectId, role: Role, kind: Kind) -> Vec<ObjectId> {
        self.read(Fact::Incoming(id.clone(), role));
        self.world.graph.incoming_of(id, role, kind)
    }

    /// The objects of a kind, in a namespace or in all of them, sorted.
    pub(crate) fn members(&self, kind: Kind, namespace: Option<&str>) -> Vec<&'a ObjectId> {
        self.read(Fact::Members(kind, namespace.map(SmolStr::new)));
        self.world.members(kind, namespace)
    }

    /// Whether a reference from one object to another is within a namespace or permitted by a grant.
    pub(crate) fn permits(&self, source: &ObjectId, target: &ObjectId) -> bool {
        if source.namespace == target.namespace {
            return true;
        }
        self.read(Fact::Members(Kind::ReferenceGrant, Some(target.namespace.clone())));
        self.world.graph.permits(source, target)
    }

    /// What a unit of an earlier stage made; nothing when nobody asks for that unit.
    pub(crate) fn made<P: Made>(&self, unit: UnitId) -> Option<&'a P> {
        debug_assert!(unit.stage() < self.unit.stage(), "{:?} reads {unit:?}", self.unit);
        let product = self.units.product(&unit);
        self.read(Fact::Product(unit));
        product.and_then(P::of)
    }

    /// The units that ask for this one, sorted.
    pub(crate) fn demanders(&self) -> Vec<&'a UnitId> {
        self.read(Fact::Demanders(self.unit.clone()));
        self.units.demanders(self.unit)
    }

    /// How many units ask for this one.
    pub(crate) fn demander_count(&self) -> usize {
        self.read(Fact::Demanders(self.unit.clone()));
        self.units.demander_count(self.unit)
    }
}
