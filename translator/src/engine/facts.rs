//! What a unit may read, and who read it.
//!
//! Invariant: a unit's result depends on nothing but the facts it recorded, so that re-running the readers of a changed
//! fact is enough for the incremental result to equal the one from scratch.

use std::collections::BTreeSet;

use kinds::{Kind, ObjectId};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::unit::UnitId;
use crate::graph::Role;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// The content of an object, or its absence.
    Object(ObjectId),
    /// The references that an object makes, with their verdicts.
    Outgoing(ObjectId),
    /// Which objects refer to an object in a role.
    Incoming(ObjectId, Role),
    /// What a unit made.
    Product(UnitId),
    /// Which objects of a kind there are, in a namespace or in all of them.
    Members(Kind, Option<SmolStr>),
    /// Which units ask for a unit.
    Demanders(UnitId),
}

/// The index of a unit in the engine's table.
pub(crate) type UnitIndex = u32;
pub(crate) type FactIndex = u32;

/// Facts by number, and the units that read each.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    numbers: FxHashMap<Fact, FactIndex>,
    readers: Vec<BTreeSet<UnitIndex>>,
}

impl Readers {
    pub(crate) fn of(&self, fact: &Fact) -> impl Iterator<Item = UnitIndex> + '_ {
        let set = self.numbers.get(fact).and_then(|number| self.readers.get(*number as usize));
        set.into_iter().flatten().copied()
    }

    /// Replaces what a unit read last time by what it read now.
    pub(crate) fn update(&mut self, unit: UnitIndex, before: &mut Vec<FactIndex>, now: Vec<Fact>) {
        let mut numbers: Vec<FactIndex> = now.into_iter().map(|fact| self.number(fact)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if *before == numbers {
            return;
        }
        for number in before.iter().filter(|number| numbers.binary_search(number).is_err()) {
            self.readers[*number as usize].remove(&unit);
        }
        for number in numbers.iter().filter(|number| before.binary_search(number).is_err()) {
            self.readers[*number as usize].insert(unit);
        }
        *before = numbers;
    }

    fn number(&mut self, fact: Fact) -> FactIndex {
        let next = self.readers.len();
        let number = *self.numbers.entry(fact).or_insert_with(|| FactIndex::try_from(next).unwrap_or(FactIndex::MAX));
        if number as usize == next {
            self.readers.push(BTreeSet::new());
        }
        number
    }
}
