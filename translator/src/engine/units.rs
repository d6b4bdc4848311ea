//! The table of units: numbered, each found by its name.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use kinds::Diagnostic;
use rustc_hash::FxBuildHasher;

use super::facts::{Fact, UnitIndex, UnitSet};
use super::product::Product;
use super::unit::UnitId;
use super::view::Demander;

#[derive(Debug, Default)]
pub(crate) struct Units {
    /// Numbers, each with the hash of its unit.
    numbers: HashTable<(u64, UnitIndex)>,
    states: Vec<Option<Box<UnitState>>>,
    free: Vec<UnitIndex>,
}

/// A unit, or the place of one that somebody looked for.
#[derive(Debug)]
pub(super) struct UnitState {
    pub(super) id: UnitId,
    pub(super) hash: u64,
    pub(super) rooted: bool,
    pub(super) pending: bool,
    pub(super) product: Product,
    pub(super) reads: Box<[Fact]>,
    pub(super) demands: Box<[UnitIndex]>,
    pub(super) demanders: UnitSet,
    pub(super) product_readers: UnitSet,
    pub(super) demander_readers: UnitSet,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl UnitState {
    pub(super) fn alive(&self) -> bool {
        self.rooted || !self.demanders.is_empty()
    }

    pub(super) fn needed(&self) -> bool {
        self.alive() || self.pending || !self.product_readers.is_empty() || !self.demander_readers.is_empty()
    }
}

impl Units {
    pub(super) fn state(&self, index: UnitIndex) -> Option<&UnitState> {
        self.states.get(index as usize)?.as_deref()
    }

    pub(super) fn state_mut(&mut self, index: UnitIndex) -> Option<&mut UnitState> {
        self.states.get_mut(index as usize)?.as_deref_mut()
    }

    pub(super) fn number(&self, id: &UnitId) -> Option<UnitIndex> {
        let hash = FxBuildHasher.hash_one(id);
        let same = |(other, index): &(u64, UnitIndex)| {
            *other == hash && self.state(*index).is_some_and(|state| state.id == *id)
        };
        self.numbers.find(hash, same).map(|(_, index)| *index)
    }

    /// What a unit made, if there is a place for it.
    pub(super) fn product(&self, id: &UnitId) -> Option<(UnitIndex, &Product)> {
        let index = self.number(id)?;
        Some((index, self.product_at(index)?))
    }

    pub(super) fn product_at(&self, index: UnitIndex) -> Option<&Product> {
        self.state(index).map(|state| &state.product)
    }

    pub(super) fn demanders(&self, index: UnitIndex) -> Vec<Demander<'_>> {
        let indexes = self.state(index).map(|state| state.demanders.as_slice()).unwrap_or_default();
        let demanders =
            indexes.iter().filter_map(|index| Some(Demander { id: &self.state(*index)?.id, index: *index }));
        let mut demanders: Vec<_> = demanders.collect();
        demanders.sort_unstable_by(|a, b| a.id.cmp(b.id));
        demanders
    }

    pub(super) fn demander_count(&self, index: UnitIndex) -> usize {
        self.state(index).map_or(0, |state| state.demanders.as_slice().len())
    }

    /// The unit's place, made where there was none.
    pub(super) fn place(&mut self, id: UnitId) -> UnitIndex {
        let hash = FxBuildHasher.hash_one(&id);
        let states = &self.states;
        let same = |(other, index): &(u64, UnitIndex)| {
            *other == hash && states[*index as usize].as_ref().is_some_and(|state| state.id == id)
        };
        if let Some((_, index)) = self.numbers.find(hash, same) {
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.states.push(None);
            UnitIndex::try_from(self.states.len() - 1).unwrap_or(UnitIndex::MAX)
        });
        self.numbers.insert_unique(hash, (hash, index), |(hash, _)| *hash);
        self.states[index as usize] = Some(Box::new(UnitState {
            id,
            hash,
            rooted: false,
            pending: false,
            product: Product::Nothing,
            reads: Box::default(),
            demands: Box::default(),
            demanders: UnitSet::default(),
            product_readers: UnitSet::default(),
            demander_readers: UnitSet::default(),
            diagnostics: Vec::new(),
        }));
        index
    }

    pub(super) fn forget_if_unneeded(&mut self, index: UnitIndex) {
        let Some(hash) = self.state(index).filter(|state| !state.needed()).map(|state| state.hash) else { return };
        if let Ok(found) = self.numbers.find_entry(hash, |(_, other)| *other == index) {
            found.remove();
        }
        self.states[index as usize] = None;
        self.free.push(index);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &UnitState> {
        self.states.iter().flatten().map(AsRef::as_ref)
    }
}
