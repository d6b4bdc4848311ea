//! What a stream wants of a type.

use std::sync::Arc;

use imbl::OrdSet;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_64;

/// The names a stream asked for. Equal sets have equal fingerprints, by which frames are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub wildcard: bool,
    names: OrdSet<Arc<str>>,
    fingerprint: u64,
    /// Whether any name was ever asked for: an empty request means everything only before that.
    ever_named: bool,
}

/// The sets of names that streams of a group asked for, by their fingerprints.
#[derive(Debug, Default)]
pub(crate) struct Interned(FxHashMap<u64, Shared>);

#[derive(Debug)]
struct Shared {
    names: OrdSet<Arc<str>>,
    /// The same, made when a second stream seems to ask for it.
    index: FxHashSet<Box<[u8]>>,
}

/// And how many names there are.
fn fingerprint<'n>(names: impl Iterator<Item = &'n [u8]>) -> (u64, usize) {
    names.fold((0, 0), |(sum, count), name| (sum ^ xxh3_64(name), count + 1))
}

const WILDCARD: &str = "*";
/// Fewer names are added as fast as they are looked up.
const WORTH_A_LOOK: usize = 8;
/// How many different sets are remembered for sharing.
const MOST_SETS: usize = 1024;

impl Subscription {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// Takes the set of another stream that asked for the same, so that ten thousand of them hold one.
    pub(crate) fn share(&mut self, interned: &mut Interned) {
        if self.names.is_empty() {
            return;
        }
        match interned.0.get(&self.fingerprint) {
            Some(same) if same.names.ptr_eq(&self.names) => {}
            Some(same) if same.names.len() == self.names.len() && same.names == self.names => {
                self.names = same.names.clone();
            }
            _ => {
                if interned.0.len() >= MOST_SETS {
                    interned.0.clear();
                }
                let names = self.names.clone();
                interned.0.insert(self.fingerprint, Shared { names, index: FxHashSet::default() });
            }
        }
    }

    /// Begins with a set that another stream asked for. False when these names are no such set, or this has begun.
    pub(crate) fn begin_as<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]> + Clone,
        interned: &Mutex<Interned>,
    ) -> bool {
        if !self.names.is_empty() || self.wildcard {
            return false;
        }
        let (fingerprint, count) = fingerprint(names.clone());
        if count < WORTH_A_LOOK {
            return false;
        }
        let mut interned = interned.lock();
        let Some(shared) = interned.0.get_mut(&fingerprint).filter(|shared| shared.names.len() == count) else {
            return false;
        };
        if shared.index.is_empty() {
            shared.index = shared.names.iter().map(|name| name.as_bytes().into()).collect();
        }
        // Names that stand there twice are out of the fingerprint: as many names, all in the set, are the set.
        let mut names = names;
        if !names.all(|name| shared.index.contains(name)) {
            return false;
        }
        (self.names, self.fingerprint, self.ever_named) = (shared.names.clone(), fingerprint, true);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        if self.wildcard { u64::MAX } else { self.fingerprint }
    }

    pub(crate) fn add(&mut self, name: Arc<str>) -> bool {
        if *name == *WILDCARD {
            return !std::mem::replace(&mut self.wildcard, true);
        }
        self.ever_named = true;
        let hash = xxh3_64(name.as_bytes());
        let new = self.names.insert(name).is_none();
        if new {
            self.fingerprint ^= hash;
        }
        new
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        if name == WILDCARD {
            return std::mem::replace(&mut self.wildcard, false);
        }
        let had = self.names.remove(name).is_some();
        if had {
            self.fingerprint ^= xxh3_64(name.as_bytes());
        }
        had
    }

    /// The first Delta request of a type that asks for nothing asks for everything, if it also gives nothing up.
    pub(crate) fn start_delta(&mut self, asks: bool, gives_up: bool) {
        self.wildcard |= !asks && !gives_up;
    }

    /// A SotW request replaces the set.
    pub(crate) fn replace(&mut self, names: &[String], legacy_wildcard: bool) -> Replaced {
        if !self.wildcard && names.len() >= WORTH_A_LOOK && names.len() == self.len() {
            // Every acknowledgement repeats the names. A client that deceives here deceives itself.
            if fingerprint(names.iter().map(String::as_bytes)).0 == self.fingerprint {
                return Replaced { added: Vec::new(), newly_all: false, shrunk: false };
            }
        }
        let names: Vec<&String> = names.iter().filter(|name| !name.is_empty()).collect();
        self.ever_named |= !names.is_empty();
        let wildcard =
            names.iter().any(|name| *name == WILDCARD) || (names.is_empty() && !self.ever_named && legacy_wildcard);
        let newly_all = wildcard && !self.wildcard;
        let was_wildcard = std::mem::replace(&mut self.wildcard, wildcard);
        let wanted: OrdSet<Arc<str>> =
            names.iter().filter(|name| **name != WILDCARD).map(|name| Arc::from(name.as_str())).collect();
        let added: Vec<Arc<str>> = wanted.iter().filter(|name| !self.names.contains(*name)).cloned().collect();
        let gone: Vec<Arc<str>> = self.names.iter().filter(|name| !wanted.contains(*name)).cloned().collect();
        let shrunk = !gone.is_empty() || was_wildcard && !wildcard;
        for name in gone {
            self.remove(&name);
        }
        for name in &added {
            self.add(name.clone());
        }
        Replaced { added, newly_all, shrunk }
    }
}

/// What replacing a set of names did to it.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub added: Vec<Arc<str>>,
    pub newly_all: bool,
    pub shrunk: bool,
}

impl Replaced {
    pub(crate) fn any(&self) -> bool {
        self.newly_all || self.shrunk || !self.added.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(subscription: &mut Subscription, names: &[&str]) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        subscription.replace(&names, true);
    }

    #[test]
    fn s2_sotw_sequence() {
        let mut s = Subscription::default();
        replace(&mut s, &[]);
        assert!(s.wildcard);
        replace(&mut s, &["*", "a"]);
        assert!(s.wildcard && s.wants("a"));
        replace(&mut s, &["a"]);
        assert!(!s.wildcard && s.wants("a") && !s.wants("b"));
        replace(&mut s, &[]);
        assert!(s.is_empty(), "nothing, and not everything");
    }

    #[test]
    fn s3_delta_sequence() {
        let mut s = Subscription::default();
        s.start_delta(false, false);
        s.add("a".into());
        assert!(s.wildcard && s.wants("a") && s.wants("b"));
        s.remove("*");
        assert!(s.wants("a") && !s.wants("b"));
        s.remove("a");
        assert!(s.is_empty());
    }

    #[test]
    fn s4_only_unsubscribing_is_not_asking_for_everything() {
        let mut s = Subscription::default();
        s.start_delta(false, true);
        assert!(s.is_empty());
    }

    #[test]
    fn equal_sets_are_one() {
        let (mut a, mut b, mut interned) = (Subscription::default(), Subscription::default(), Interned::default());
        for (index, s) in [&mut a, &mut b].into_iter().enumerate() {
            s.add("x".into());
            s.add("y".into());
            s.share(&mut interned);
            assert_eq!(interned.0.len(), 1, "{index}");
        }
        let first = |s: &Subscription| s.names().next().unwrap().as_ptr();
        assert_eq!(first(&a), first(&b));
        a.remove("x");
        a.share(&mut interned);
        assert!(b.wants("x") && !a.wants("x"));
    }

    #[test]
    fn a_stream_begins_with_the_set_of_another() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        let (mut first, interned) = (Subscription::default(), Mutex::new(Interned::default()));
        let begins = |subscription: &mut Subscription, names: &[String]| {
            subscription.begin_as(names.iter().map(String::as_bytes), &interned)
        };
        assert!(!begins(&mut first, &names), "nobody was here before");
        for name in &names {
            first.add(name.as_str().into());
        }
        first.share(&mut interned.lock());
        let mut backwards = names.clone();
        backwards.reverse();
        let mut second = Subscription::default();
        assert!(begins(&mut second, &backwards));
        assert_eq!(second.fingerprint(), first.fingerprint());
        assert!(second.wants("n7") && !second.wants("n20"));
        let mut other = names.clone();
        other[3] = "n20".to_owned();
        assert!(!begins(&mut Subscription::default(), &other));
        // As many names, and the same sum of hashes, since two that stand there twice are in none.
        let mut twice = names;
        for at in [0, 1] {
            twice[at] = format!("n{}", at + 2);
        }
        assert!(!begins(&mut Subscription::default(), &twice));
        assert!(!second.replace(&backwards, false).any(), "the same names");
        assert!(second.replace(&other, false).any());
        assert!(second.wants("n20") && !second.wants("n3"));
    }

    #[test]
    fn equal_sets_have_equal_fingerprints() {
        let mut a = Subscription::default();
        let mut b = Subscription::default();
        for name in ["x", "y", "z"] {
            a.add(name.into());
        }
        for name in ["z", "q", "y", "x"] {
            b.add(name.into());
        }
        b.remove("q");
        assert_eq!(a.fingerprint(), b.fingerprint());
    }
}
