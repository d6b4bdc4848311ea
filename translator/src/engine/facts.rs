//! What a unit may read, and who read it.
//!
//! Invariant: a unit's result depends on nothing but the facts it recorded, so that re-running the readers of a changed
//! fact is enough for the incremental result to equal the one from scratch.
//!
//! Facts are numbers. The readers of a fact stand with what it is about: in a node of the graph, or in a unit. So a fact
//! that nobody reads costs nothing, and is forgotten with what it is about.

use kinds::{Kind, ObjectId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::unit::UnitId;
use crate::graph::{ObjectIndex, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// The content of an object, or its absence.
    Object(ObjectIndex),
    /// The references that an object makes, with their verdicts.
    Outgoing(ObjectIndex),
    /// Which objects refer to an object in a role.
    Incoming(ObjectIndex, Role),
    /// Which objects of a kind there are, in a namespace or in all of them.
    Members(ListIndex),
    /// What a unit made.
    Product(UnitIndex),
    /// Which units ask for a unit.
    Demanders(UnitIndex),
}

/// A fact about something that has no number, because it is not there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Absent {
    Object(AbsentObject),
    Unit(UnitId),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AbsentObject {
    Content(ObjectId),
    Outgoing(ObjectId),
    Incoming(ObjectId, Role),
    Members(Kind, Option<SmolStr>),
}

/// The index of a unit in the engine's table.
pub(crate) type UnitIndex = u32;
/// The index of a list of objects.
pub(crate) type ListIndex = u32;

/// Units, sorted. Most facts have one or two readers, and those with thousands get them in order.
#[derive(Debug, Default)]
pub(crate) struct UnitSet(SmallVec<[UnitIndex; 4]>);

impl UnitSet {
    /// False when it was in already.
    pub(crate) fn insert(&mut self, unit: UnitIndex) -> bool {
        if self.0.last().is_none_or(|last| *last < unit) {
            self.0.push(unit);
            return true;
        }
        let place = self.0.binary_search(&unit);
        if let Err(at) = place {
            self.0.insert(at, unit);
        }
        place.is_err()
    }

    /// False when it was not in.
    pub(crate) fn remove(&mut self, unit: UnitIndex) -> bool {
        let place = self.0.binary_search(&unit);
        if let Ok(at) = place {
            self.0.remove(at);
        }
        place.is_ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[UnitIndex] {
        &self.0
    }
}

/// Lists of the objects of a kind, in a namespace or in all of them, that somebody looked at. They are few.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    numbers: FxHashMap<(Kind, Option<SmolStr>), ListIndex>,
    readers: Vec<UnitSet>,
}

impl Lists {
    pub(crate) fn find(&self, kind: Kind, namespace: Option<&SmolStr>) -> Option<ListIndex> {
        self.numbers.get(&(kind, namespace.cloned())).copied()
    }

    pub(crate) fn number(&mut self, kind: Kind, namespace: Option<SmolStr>) -> ListIndex {
        *self.numbers.entry((kind, namespace)).or_insert_with(|| {
            self.readers.push(UnitSet::default());
            ListIndex::try_from(self.readers.len() - 1).unwrap_or(ListIndex::MAX)
        })
    }

    pub(crate) fn readers(&self, list: ListIndex) -> Option<&UnitSet> {
        self.readers.get(list as usize)
    }

    pub(crate) fn readers_mut(&mut self, list: ListIndex) -> Option<&mut UnitSet> {
        self.readers.get_mut(list as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sorted_and_without_repetitions() {
        let mut set = UnitSet::default();
        for unit in [3, 1, 7, 1, 5, 7, 3, 9, 0] {
            set.insert(unit);
        }
        assert_eq!(set.as_slice(), [0, 1, 3, 5, 7, 9]);
        assert!(!set.insert(5));
        assert!(set.remove(5));
        assert!(!set.remove(6));
        assert_eq!(set.as_slice(), [0, 1, 3, 7, 9]);
    }
}
