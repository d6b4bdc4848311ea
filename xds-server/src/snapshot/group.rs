//! The states of one group, and the content that its Envoys rejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use xds_api::{Resource, ResourceType};

use super::links::{Apart, Key, Links, Published};
use super::state::{Entry, TypeState};
use super::{Change, GroupKey};
use crate::protocol::Interned;
use crate::wire::alarm::Alarms;

#[derive(Debug)]
pub(crate) struct Group {
    pub key: GroupKey,
    states: [ArcSwap<TypeState>; ResourceType::ALL.len()],
    /// Whoever changes states holds this; readers never do.
    writing: Mutex<Writing>,
    /// Names that may be used without being there.
    apart: Apart,
    /// How often it has changed.
    changes: AtomicU64,
    /// They ring at every change.
    pub alarms: Alarms,
    /// The newest epoch of each type that an Envoy has acknowledged whole.
    proven: [AtomicU64; ResourceType::ALL.len()],
    /// Types of which something was ever rejected.
    doubtful: [AtomicBool; ResourceType::ALL.len()],
    /// Sets of names that streams asked for.
    pub interned: Mutex<Interned>,
    /// Holds what was saved, and nothing newer.
    restored: AtomicBool,
}

#[derive(Debug, Default)]
struct Writing {
    quarantine: Quarantine,
    links: Links,
}

/// What was set aside: content that an Envoy rejected is never sent again.
#[derive(Debug, Default)]
struct Quarantine {
    /// By type and name: the rejected content and Envoy's words.
    rejected: BTreeMap<Key, SetAside>,
    /// What stood before the newest content of a name, until an Envoy has acknowledged it.
    unproven: BTreeMap<Key, Option<Arc<Entry>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct SetAside {
    pub resource: Resource,
    pub message: String,
}

/// Types that resources of other types name: what goes of them goes when the others have changed. All else changes as a
/// whole, for what comes may take the place of what goes.
const NAMED: [ResourceType; 5] = [
    ResourceType::RouteConfiguration,
    ResourceType::ExtensionConfig,
    ResourceType::Secret,
    ResourceType::Cluster,
    ResourceType::Endpoints,
];

/// Content that is not sent because a name would dangle, or sent no longer than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldBack {
    pub kind: ResourceType,
    pub name: Arc<str>,
    pub because: Vec<String>,
}

struct View<'a> {
    group: &'a Group,
    rejected: &'a BTreeMap<Key, SetAside>,
}

impl Published for View<'_> {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.group.states[key.0 as usize].load().get(&key.1).cloned()
    }

    fn apart(&self, key: &Key) -> bool {
        self.group.apart.contains(key) || self.rejected.contains_key(key)
    }
}

impl Group {
    pub(crate) fn new(key: GroupKey, apart: Apart) -> Self {
        let empty = |kind| ArcSwap::from_pointee(TypeState::empty(kind, SystemTime::UNIX_EPOCH));
        Self {
            key,
            states: ResourceType::ALL.map(empty),
            writing: Mutex::default(),
            apart,
            changes: AtomicU64::new(0),
            alarms: Alarms::default(),
            proven: Default::default(),
            doubtful: Default::default(),
            interned: Mutex::default(),
            restored: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self, kind: ResourceType) -> Arc<TypeState> {
        self.states[kind as usize].load_full()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// States are there before anybody is told.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.alarms.ring();
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        let of_kind = |kind: ResourceType| {
            let state = self.state(kind);
            state.entries().map(|entry| entry.resource()).collect::<Vec<_>>()
        };
        ResourceType::ALL.into_iter().flat_map(of_kind).collect()
    }

    pub(crate) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Relaxed)
    }

    /// What was saved had been taken by Envoys: it counts as proven.
    pub(crate) fn restore(&self, resources: Vec<Resource>, now: SystemTime) {
        self.replace(resources, now);
        self.writing.lock().quarantine.unproven.clear();
        self.restored.store(true, Ordering::Relaxed);
    }

    pub(crate) fn publish(&self, change: Change, now: SystemTime) {
        self.restored.store(false, Ordering::Relaxed);
        let mut writing = self.writing.lock();
        let quarantine = &mut writing.quarantine;
        let mut set = Vec::new();
        for resource in change.set {
            let key = (resource.kind, resource.name.clone());
            if let Some(aside) = quarantine.rejected.get(&key) {
                if aside.resource.body == resource.body {
                    continue;
                }
                quarantine.rejected.remove(&key);
            }
            set.push(resource);
        }
        for key in &change.remove {
            quarantine.rejected.remove(key);
        }
        let any = self.take(&mut writing, set, change.remove, now);
        drop(writing);
        if any {
            self.changed();
        }
    }

    /// Publishes as much of a change as leaves no name dangling. True when anything is different.
    fn take(&self, writing: &mut Writing, set: Vec<Resource>, remove: Vec<Key>, now: SystemTime) -> bool {
        let Writing { quarantine, links } = writing;
        let view = View { group: self, rejected: &quarantine.rejected };
        let unchanged = |resource: &Resource| {
            let key = (resource.kind, resource.name.clone());
            links.is_settled(&key) && view.get(&key).is_some_and(|entry| entry.body == resource.body)
        };
        let set: Vec<Arc<Entry>> = set
            .into_iter()
            .filter(|resource| !unchanged(resource))
            .map(|resource| Arc::new(Entry::new(resource)))
            .collect();
        let passed = links.pass(set, remove, &view);
        let (mut set, mut remove) =
            (by_kind(passed.set, |entry| (entry.kind, entry)), by_kind(passed.remove, |key| key));
        let mut any = false;
        for kind in ResourceType::ALL {
            let set = set.remove(&kind).unwrap_or_default();
            let remove = if NAMED.contains(&kind) { None } else { remove.remove(&kind) };
            any |= self.advance(kind, set, remove.unwrap_or_default(), now, quarantine);
        }
        for kind in NAMED {
            any |= self.advance(kind, Vec::new(), remove.remove(&kind).unwrap_or_default(), now, quarantine);
        }
        any
    }

    fn advance(
        &self,
        kind: ResourceType,
        set: Vec<Arc<Entry>>,
        remove: Vec<Arc<str>>,
        now: SystemTime,
        quarantine: &mut Quarantine,
    ) -> bool {
        if set.is_empty() && remove.is_empty() {
            return false;
        }
        let before = self.state(kind);
        let names: Vec<Arc<str>> = set.iter().map(|entry| entry.name.clone()).collect();
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
            remove.extend(state.entries().map(|entry| entry.key()).filter(|key| !wanted.contains(key)));
        }
        let held: Vec<Key> = self.writing.lock().links.held().map(|held| held.entry.key()).collect();
        remove.extend(held.into_iter().filter(|key| !wanted.contains(key)));
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
        self.writing.lock().quarantine.unproven.contains_key(&(kind, Arc::from(name)))
    }

    /// An Envoy has taken everything of a type up to a state, but what it refused: what it holds is proven.
    ///
    /// What one Envoy takes is not withheld from the others because another rejects it: that one alone goes without.
    pub(crate) fn acknowledged(&self, state: &TypeState, refused: &BTreeMap<Arc<str>, String>, now: SystemTime) {
        let proven = &self.proven[state.kind as usize];
        if refused.is_empty() && proven.fetch_max(state.epoch, Ordering::Relaxed) >= state.epoch {
            return;
        }
        let mut writing = self.writing.lock();
        let quarantine = &mut writing.quarantine;
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
        let lifted: Vec<Key> = set.iter().map(|resource| (resource.kind, resource.name.clone())).collect();
        self.take(&mut writing, set, Vec::new(), now);
        for key in lifted {
            writing.quarantine.unproven.remove(&key);
        }
        drop(writing);
        self.changed();
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
        let mut writing = self.writing.lock();
        let Writing { quarantine, links } = &mut *writing;
        let current = self.state(kind);
        let Some(entry) = current.get(name).filter(|entry| entry.version == version).cloned() else { return false };
        let key = entry.key();
        let Some(before) = quarantine.unproven.remove(&key) else { return false };
        let aside = SetAside { resource: entry.resource(), message: message.to_owned() };
        quarantine.rejected.insert(key.clone(), aside);
        let (set, gone) = match &before {
            Some(good) => (vec![good.clone()], None),
            None => (Vec::new(), Some(key.1.clone())),
        };
        if let Some(next) = current.next(set, gone, now) {
            self.states[kind as usize].store(Arc::new(next));
        }
        let view = View { group: self, rejected: &quarantine.rejected };
        let unnamed = by_kind(links.replaced(&key, Some(&entry), before.as_deref(), &view), |key| key);
        for (kind, names) in unnamed {
            self.advance(kind, Vec::new(), names, now, quarantine);
        }
        drop(writing);
        self.changed();
        true
    }

    /// What is set aside, sorted.
    pub(crate) fn rejected(&self) -> Vec<SetAside> {
        self.writing.lock().quarantine.rejected.values().cloned().collect()
    }

    /// What is not sent, or still is, because a name would dangle.
    pub(crate) fn held_back(&self) -> Vec<HeldBack> {
        let writing = self.writing.lock();
        let held = writing.links.held().map(|held| HeldBack {
            kind: held.entry.kind,
            name: held.entry.name.clone(),
            because: held.lacks.iter().map(|(kind, name)| format!("lacks {} {name}", word(*kind))).collect(),
        });
        let kept = writing.links.kept().map(|(key, by)| HeldBack {
            kind: key.0,
            name: key.1.clone(),
            because: vec![format!("kept for {} {}", word(by.0), by.1)],
        });
        held.chain(kept).collect()
    }
}

fn by_kind<T, U>(items: Vec<T>, split: impl Fn(T) -> (ResourceType, U)) -> BTreeMap<ResourceType, Vec<U>> {
    let mut sorted: BTreeMap<ResourceType, Vec<U>> = BTreeMap::new();
    for (kind, item) in items.into_iter().map(split) {
        sorted.entry(kind).or_default().push(item);
    }
    sorted
}

/// One resource of a type, for people.
fn word(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoints => "endpoints",
        ResourceType::Secret => "secret",
        ResourceType::ExtensionConfig => "extension",
        ResourceType::Listener => "listener",
        ResourceType::RouteConfiguration => "table",
        ResourceType::ScopedRoute => "scope",
        ResourceType::VirtualHost => "virtual host",
        ResourceType::Runtime => "runtime",
        ResourceType::RateLimitConfig => "limits",
    }
}
