//! What a unit sees while it runs. Every read is recorded.

use std::cell::RefCell;
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId, Typed};
use smol_str::SmolStr;

use super::facts::{Absent, AbsentObject, Fact};
use super::product::Made;
use super::unit::UnitId;
use super::{UnitIndex, Units, World};
use crate::Options;
use crate::graph::{Edge, ObjectIndex, Role};

pub(crate) struct View<'a> {
    pub(crate) options: &'a Options,
    world: &'a World,
    units: &'a Units,
    unit: &'a UnitId,
    index: UnitIndex,
    reads: RefCell<Reads>,
}

/// What a run read: facts, and those that have no number yet.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) facts: Vec<Fact>,
    pub(crate) absent: Vec<Absent>,
}

/// A unit that asks for the one that looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demander<'a> {
    pub(crate) id: &'a UnitId,
    pub(super) index: UnitIndex,
}

impl<'a> View<'a> {
    pub(super) fn new(
        options: &'a Options,
        world: &'a World,
        units: &'a Units,
        (index, unit): (UnitIndex, &'a UnitId),
        facts: Vec<Fact>,
    ) -> Self {
        let reads = RefCell::new(Reads { facts, absent: Vec::new() });
        Self { options, world, units, unit, index, reads }
    }

    pub(super) fn into_reads(self) -> Reads {
        self.reads.into_inner()
    }

    fn read(&self, fact: Fact) {
        let mut reads = self.reads.borrow_mut();
        // What is read several times is mostly read several times in a row.
        if reads.facts.last() != Some(&fact) {
            reads.facts.push(fact);
        }
    }

    fn missed(&self, absent: Absent) {
        let mut reads = self.reads.borrow_mut();
        if reads.absent.last() != Some(&absent) {
            reads.absent.push(absent);
        }
    }

    /// Records a fact about an object, which may have no number.
    fn about(
        &self,
        id: &ObjectId,
        fact: impl FnOnce(ObjectIndex) -> Fact,
        absent: impl FnOnce(ObjectId) -> AbsentObject,
    ) -> Option<ObjectIndex> {
        let index = self.world.graph.index(id);
        match index {
            Some(index) => self.read(fact(index)),
            None => self.missed(Absent::Object(absent(id.clone()))),
        }
        index
    }

    pub(crate) fn object(&self, id: &ObjectId) -> Option<&'a Arc<Object>> {
        let index = self.about(id, Fact::Object, AbsentObject::Content)?;
        self.world.graph.object(index)
    }

    pub(crate) fn spec<T: Typed>(&self, id: &ObjectId) -> Option<&'a T> {
        self.object(id)?.spec::<T>()
    }

    /// The references that an object makes, in the order in which it makes them.
    pub(crate) fn references(&self, id: &ObjectId) -> impl Iterator<Item = &'a Edge> + use<'a> {
        let index = self.about(id, Fact::Outgoing, AbsentObject::Outgoing);
        let world = self.world;
        index.into_iter().flat_map(|index| world.graph.outgoing(index))
    }

    /// The reference that stands at a field.
    pub(crate) fn reference(&self, id: &ObjectId, path: &str) -> Option<&'a Edge> {
        self.references(id).find(|edge| edge.path.as_str() == path)
    }

    /// The objects that refer to an object in a role, sorted.
    pub(crate) fn referrers(&self, id: &ObjectId, role: Role) -> impl Iterator<Item = &'a ObjectId> + use<'a> {
        let index = self.about(id, |index| Fact::Incoming(index, role), |id| AbsentObject::Incoming(id, role));
        let world = self.world;
        index.into_iter().flat_map(move |index| world.graph.incoming(index, role))
    }

    /// Those of one kind.
    pub(crate) fn referrers_of(
        &self,
        id: &ObjectId,
        role: Role,
        kind: Kind,
    ) -> impl Iterator<Item = &'a ObjectId> + use<'a> {
        let index = self.about(id, |index| Fact::Incoming(index, role), |id| AbsentObject::Incoming(id, role));
        let world = self.world;
        index.into_iter().flat_map(move |index| world.graph.incoming_of(index, role, kind))
    }

    fn read_list(&self, kind: Kind, namespace: Option<&SmolStr>) {
        match self.world.lists.find(kind, namespace) {
            Some(list) => self.read(Fact::Members(list)),
            None => self.missed(Absent::Object(AbsentObject::Members(kind, namespace.cloned()))),
        }
    }

    /// The objects of a kind, in a namespace or in all of them, sorted.
    pub(crate) fn members(&self, kind: Kind, namespace: Option<&SmolStr>) -> Vec<&'a ObjectId> {
        self.read_list(kind, namespace);
        self.world.members(kind, namespace.map(SmolStr::as_str))
    }

    /// Whether a reference from one object to another is within a namespace or permitted by a grant.
    pub(crate) fn permits(&self, source: &ObjectId, target: &ObjectId) -> bool {
        if source.namespace == target.namespace {
            return true;
        }
        self.read_list(Kind::ReferenceGrant, Some(&target.namespace));
        self.world.graph.permits(source, target)
    }

    /// What a unit of an earlier stage made; nothing when nobody asks for that unit.
    pub(crate) fn made<P: Made>(&self, unit: UnitId) -> Option<&'a P> {
        debug_assert!(unit.stage() < self.unit.stage(), "{:?} reads {unit:?}", self.unit);
        let Some((index, product)) = self.units.product(&unit) else {
            self.missed(Absent::Unit(unit));
            return None;
        };
        self.read(Fact::Product(index));
        P::of(product)
    }

    /// The units that ask for this one, sorted.
    pub(crate) fn demanders(&self) -> Vec<Demander<'a>> {
        self.read(Fact::Demanders(self.index));
        self.units.demanders(self.index)
    }

    /// What a unit that asks for this one made.
    pub(crate) fn made_by<P: Made>(&self, demander: Demander<'a>) -> Option<&'a P> {
        debug_assert!(demander.id.stage() < self.unit.stage(), "{:?} reads {:?}", self.unit, demander.id);
        self.read(Fact::Product(demander.index));
        P::of(self.units.product_at(demander.index)?)
    }

    /// How many units ask for this one.
    pub(crate) fn demander_count(&self) -> usize {
        self.read(Fact::Demanders(self.index));
        self.units.demander_count(self.index)
    }
}
