//! The states of one group, and the content that its Envoys rejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use imbl::OrdSet;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use xds_api::{Resource, ResourceType};

use super::state::{Entry, TypeState};
use super::{Change, GroupKey};

#[derive(Debug)]
pub(crate) struct Group {
    pub key: GroupKey,
    states: [ArcSwap<TypeState>; ResourceType::ALL.len()],
    /// Whoever changes states holds this; readers never do.
    writing: Mutex<Quarantine>,
    changed: watch::Sender<u64>,
    /// The newest epoch of each type that an Envoy has acknowledged whole.
    proven: [AtomicU64; ResourceType::ALL.len()],
    /// Types of which something was ever rejected.
    doubtful: [AtomicBool; ResourceType::ALL.len()],
    /// Sets of names that streams asked for.
    pub interned: Mutex<FxHashMap<u64, OrdSet<Arc<str>>>>,
    /// Holds what was saved, and nothing newer.
    restored: AtomicBool,
}

/// What was set aside: content that an Envoy rejected is never sent again.
#[derive(Debug, Default)]
struct Quarantine {
    /// By type and name: the rejected content and Envoy's words.
    rejected: BTreeMap<(ResourceType, Arc<str>), SetAside>,
    /// What stood before the newest content of a name, until an Envoy has acknowledged it.
    unproven: BTreeMap<(ResourceType, Arc<str>), Option<Arc<Entry>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct SetAside {
    pub resource: Resource,
    pub message: String,
}

impl Group {
    pub(crate) fn new(key: GroupKey) -> Self {
        let empty = |kind| ArcSwap::from_pointee(TypeState::empty(kind, SystemTime::UNIX_EPOCH));
        Self {
            key,
            states: ResourceType::ALL.map(empty),
            writing: Mutex::default(),
            changed: watch::Sender::new(0),
            proven: Default::default(),
            doubtful: Default::default(),
            interned: Mutex::default(),
            restored: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self, kind: ResourceType) -> Arc<TypeState> {
        self.states[kind as usize].load_full()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        let of_kind = |kind: ResourceType| {
            let state = self.state(kind);
            let resource = |entry: &Arc<Entry>| Resource { kind, name: entry.name.clone(), body: entry.body.clone() };
            state.entries().map(resource).collect::<Vec<_>>()
        };
        ResourceType::ALL.into_iter().flat_map(of_kind).collect()
    }

    pub(crate) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Relaxed)
    }

    /// What was saved had been taken by Envoys: it counts as proven.
    pub(crate) fn restore(&self, resources: Vec<Resource>, now: SystemTime) {
        self.replace(resources, now);
        self.writing.lock().unproven.clear();
        self.restored.store(true, Ordering::Relaxed);
    }

    pub(crate) fn publish(&self, change: Change, now: SystemTime) {
        self.restored.store(false, Ordering::Relaxed);
        let mut quarantine = self.writing.lock();
        let mut by_kind: BTreeMap<ResourceType, (Vec<Resource>, Vec<Arc<str>>)> = BTreeMap::new();
        for resource in change.set {
            let key = (resource.kind, resource.name.clone());
            if let Some(aside) = quarantine.rejected.get(&key) {
                if aside.resource.body == resource.body {
                    continue;
                }
                quarantine.rejected.remove(&key);
            }
            by_kind.entry(resource.kind).or_default().0.push(resource);
        }
        for (kind, name) in change.remove {
            quarantine.rejected.remove(&(kind, name.clone()));
            by_kind.entry(kind).or_default().1.push(name);
        }
        let mut any = false;
        for (kind, (set, remove)) in by_kind {
            any |= self.advance(kind, set, remove, now, &mut quarantine);
        }
        drop(quarantine);
        if any {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn advance(
        &self,
        kind: ResourceType,
        set: Vec<Resource>,
        remove: Vec<Arc<str>>,
        now: SystemTime,
        quarantine: &mut Quarantine,
    ) -> bool {
        let before = self.state(kind);
        let names: Vec<Arc<str>> = set.iter().map(|resource| resource.name.clone()).collect();
        let Some(next) = before.next(set, remove.iter().cloned(), now) else { return false };
        for name in remove {
            quarantine.unproven.remove(&(kind, name));
        }
        for name in names {
            // The oldest unproven content stays: what stood before it was acknowledged.
            quarantine.unproven.entry((kind, name.clone())).or_insert_with(|| before.get(&name).cloned());
        }
        self.states[kind as usize].store(Arc::new(next));
        true
    }

    pub(crate) fn replace(&self, resources: Vec<Resource>, now: SystemTime) {
        let mut remove = Vec::new();
        let wanted: std::collections::BTreeSet<(ResourceType, Arc<str>)> =
            resources.iter().map(|resource| (resource.kind, resource.name.clone())).collect();
        for kind in ResourceType::ALL {
            let state = self.state(kind);
            let gone = state.entries().map(|entry| (kind, entry.name.clone())).filter(|key| !wanted.contains(key));
            remove.extend(gone);
        }
        self.publish(Change { set: resources, remove }, now);
    }

    pub(crate) fn doubt(&self, kind: ResourceType) {
        self.doubtful[kind as usize].store(true, Ordering::Relaxed);
    }

    /// Whether a client that tells the version it accepted last may hold more than that: after a rejection Envoy keeps what
    /// was good in it.
    pub(crate) fn is_doubtful(&self, kind: ResourceType) -> bool {
        self.doubtful[kind as usize].load(Ordering::Relaxed)
    }

    /// Whether no Envoy has acknowledged the newest content of a name yet.
    pub(crate) fn is_unproven(&self, kind: ResourceType, name: &str) -> bool {
        self.writing.lock().unproven.contains_key(&(kind, Arc::from(name)))
    }

    /// An Envoy has taken everything of a type up to a state, but what it refused: what it holds is proven.
    ///
    /// What one Envoy takes is not withheld from the others because another rejects it: that one alone goes without.
    pub(crate) fn acknowledged(&self, state: &TypeState, refused: &BTreeMap<Arc<str>, String>, now: SystemTime) {
        let proven = &self.proven[state.kind as usize];
        if refused.is_empty() && proven.fetch_max(state.epoch, Ordering::Relaxed) >= state.epoch {
            return;
        }
        let mut quarantine = self.writing.lock();
        let current = self.state(state.kind);
        let same = |name: &str| match (current.get(name), state.get(name)) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then) && !refused.contains_key(name),
            _ => false,
        };
        let first = (state.kind, Arc::from(""));
        let of_kind = quarantine.unproven.range(first.clone()..).take_while(|((kind, _), _)| *kind == state.kind);
        let proven: Vec<_> = of_kind.map(|(key, _)| key.clone()).filter(|(_, name)| same(name)).collect();
        for key in proven {
            quarantine.unproven.remove(&key);
        }
        let of_kind = quarantine.rejected.range(first..).take_while(|((kind, _), _)| *kind == state.kind);
        let taken = |name: &str, aside: &SetAside| {
            state.get(name).is_some_and(|entry| entry.body == aside.resource.body) && !refused.contains_key(name)
        };
        let lifted: Vec<_> =
            of_kind.filter(|((_, name), aside)| taken(name, aside)).map(|(key, _)| key.clone()).collect();
        let set: Vec<Resource> =
            lifted.iter().filter_map(|key| quarantine.rejected.remove(key)).map(|aside| aside.resource).collect();
        if set.is_empty() {
            return;
        }
        if let Some(next) = current.next(set, [], now) {
            self.states[state.kind as usize].store(Arc::new(next));
        }
        drop(quarantine);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Sets a resource aside: the content that was last good takes its place, or nothing. True when it was there, and no
    /// other Envoy had taken it.
    pub(crate) fn set_aside(
        &self,
        kind: ResourceType,
        name: &str,
        version: &str,
        message: &str,
        now: SystemTime,
    ) -> bool {
        let mut quarantine = self.writing.lock();
        let current = self.state(kind);
        let Some(entry) = current.get(name).filter(|entry| entry.version == version) else { return false };
        let name = entry.name.clone();
        let Some(before) = quarantine.unproven.remove(&(kind, name.clone())) else { return false };
        let resource = Resource { kind, name: name.clone(), body: entry.body.clone() };
        quarantine.rejected.insert((kind, name.clone()), SetAside { resource, message: message.to_owned() });
        let (set, remove) = match before {
            Some(good) => (vec![Resource { kind, name, body: good.body.clone() }], Vec::new()),
            None => (Vec::new(), vec![name]),
        };
        if let Some(next) = current.next(set, remove, now) {
            self.states[kind as usize].store(Arc::new(next));
        }
        drop(quarantine);
        self.changed.send_modify(|count| *count += 1);
        true
    }

    /// What is set aside, sorted.
    pub(crate) fn rejected(&self) -> Vec<SetAside> {
        self.writing.lock().rejected.values().cloned().collect()
    }
}
