//! What a unit may read, and who read it.
//!
//! Invariant: a unit's result depends on nothing but the facts it recorded, so that re-running the readers of a changed
//! fact is enough for the incremental result to equal the one from scratch.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use kinds::{Kind, ObjectId};
use rustc_hash::FxBuildHasher;
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

/// Facts by number, and the units that read each. A fact that nobody reads any more is forgotten: names come and go.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    entries: Vec<Entry>,
    free: Vec<FactIndex>,
    /// Numbers by the hash of their facts.
    numbers: HashTable<FactIndex>,
}

#[derive(Debug)]
struct Entry {
    fact: Fact,
    hash: u64,
    /// Sorted. Most facts have one or two readers, and those with thousands get them in order.
    readers: Vec<UnitIndex>,
}

impl Readers {
    pub(crate) fn of(&self, fact: &Fact) -> impl Iterator<Item = UnitIndex> + '_ {
        let number = self.numbers.find(hash(fact), |number| self.entries[*number as usize].fact == *fact);
        let entry = number.map(|number| &self.entries[*number as usize]);
        entry.into_iter().flat_map(|entry| entry.readers.iter().copied())
    }

    /// Replaces what a unit read last time by what it read now.
    pub(crate) fn update(&mut self, unit: UnitIndex, before: &mut Vec<FactIndex>, now: Vec<Fact>) {
        let mut numbers: Vec<FactIndex> = now.into_iter().map(|fact| self.number(fact)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if *before == numbers {
            return;
        }
        for number in numbers.iter().filter(|number| before.binary_search(number).is_err()) {
            let readers = &mut self.entries[*number as usize].readers;
            if let Err(at) = readers.binary_search(&unit) {
                readers.insert(at, unit);
            }
        }
        for number in before.iter().filter(|number| numbers.binary_search(number).is_err()) {
            let readers = &mut self.entries[*number as usize].readers;
            if let Ok(at) = readers.binary_search(&unit) {
                readers.remove(at);
            }
            if readers.is_empty() {
                self.forget(*number);
            }
        }
        *before = numbers;
    }

    fn number(&mut self, fact: Fact) -> FactIndex {
        let hash = hash(&fact);
        if let Some(number) = self.numbers.find(hash, |number| self.entries[*number as usize].fact == fact) {
            return *number;
        }
        let entry = Entry { fact, hash, readers: Vec::new() };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                FactIndex::try_from(self.entries.len() - 1).unwrap_or(FactIndex::MAX)
            }
        };
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |number| entries[*number as usize].hash);
        number
    }

    fn forget(&mut self, number: FactIndex) {
        let hash = self.entries[number as usize].hash;
        if let Ok(found) = self.numbers.find_entry(hash, |other| *other == number) {
            found.remove();
            self.free.push(number);
        }
    }
}

fn hash(fact: &Fact) -> u64 {
    FxBuildHasher.hash_one(fact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_that_nobody_reads_are_forgotten() {
        let mut readers = Readers::default();
        let fact = |name: &str| Fact::Object(ObjectId::new(Kind::Service, "default", name));
        let mut first = Vec::new();
        let mut second = Vec::new();
        readers.update(1, &mut first, vec![fact("a"), fact("b"), fact("a")]);
        readers.update(2, &mut second, vec![fact("b")]);
        readers.update(1, &mut first, vec![fact("c")]);
        assert_eq!(readers.of(&fact("a")).count(), 0);
        assert_eq!(readers.of(&fact("b")).collect::<Vec<_>>(), [2]);
        assert_eq!(readers.of(&fact("c")).collect::<Vec<_>>(), [1]);
        for round in 0..100 {
            readers.update(2, &mut second, vec![fact(&round.to_string())]);
        }
        assert!(readers.entries.len() < 6, "{}", readers.entries.len());
    }
}
