//! What each group of Envoys is to have.

mod group;
mod links;
mod persist;
mod state;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::sync::watch;
use xds_api::{Resource, ResourceType};

pub(crate) use group::Group;
pub use links::Apart;
pub use persist::Keeper;
pub(crate) use state::{Entry, FrameKey, Sum, TypeState, put_field, told};

/// The Gateway whose Envoys form a group: `NAMESPACE/NAME`, as their `node.cluster` says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupKey(Arc<str>);

impl GroupKey {
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(Arc::from(key))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A change of one group's resources.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub set: Vec<Resource>,
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

/// How many groups may come into being by being asked for.
const MOST_GROUPS: usize = 20_000;

/// The snapshots of all groups. Cloning it is cheap: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    apart: Apart,
    ready: AtomicBool,
    /// What was restored is served, since nothing newer is to be had.
    fallen_back: AtomicBool,
    groups: RwLock<FxHashMap<GroupKey, Arc<Group>>>,
    /// Counts rejections, for whoever waits for them.
    rejections: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        let (groups, apart, ready, fallen_back) = Default::default();
        Self { apart, ready, fallen_back, groups, rejections: watch::Sender::new(0) }
    }
}

impl Snapshots {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Snapshots in which these names may be used without being there.
    #[must_use]
    pub fn with(apart: Apart) -> Self {
        Self(Arc::new(Inner { apart, ..Inner::default() }))
    }

    /// Takes a change in. Cost follows the change.
    pub fn publish(&self, group: &GroupKey, change: Change) {
        self.group(group).publish(change, SystemTime::now());
    }

    /// Makes a group's resources exactly these; what does not differ is not sent again.
    pub fn replace(&self, group: &GroupKey, resources: Vec<Resource>) {
        self.group(group).replace(resources, SystemTime::now());
    }

    /// Envoys of the group are sent that everything is gone.
    pub fn remove_group(&self, group: &GroupKey) {
        self.replace(group, Vec::new());
    }

    /// The first full load has ended: streams are answered from now on.
    pub fn mark_ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// The source has not been read, and is not waited for any longer: groups that were restored are answered with that.
    ///
    /// Not before: what was restored may be older than what Envoys have, and the source newer than both. True when there is
    /// something to be served.
    pub fn fall_back(&self) -> bool {
        let any = !self.is_ready() && !self.restored().is_empty();
        self.0.fallen_back.fetch_or(any, Ordering::AcqRel);
        any
    }

    #[must_use]
    pub fn has_fallen_back(&self) -> bool {
        self.0.fallen_back.load(Ordering::Acquire) && !self.is_ready()
    }

    /// Whether streams of a group are answered: after the first full load, or with what was restored in its stead.
    pub(crate) fn may_serve(&self, group: &GroupKey) -> bool {
        let restored = || self.0.groups.read().get(group).is_some_and(|group| group.is_restored());
        self.is_ready() || self.has_fallen_back() && restored()
    }

    /// Puts back what a group had when it was saved. Returns the count of its changes.
    fn restore(&self, key: &GroupKey, resources: Vec<Resource>) -> u64 {
        let group = self.group(key);
        group.restore(resources, SystemTime::now());
        group.changes()
    }

    /// The groups that were restored from disk, and not published since.
    #[must_use]
    pub fn restored(&self) -> Vec<GroupKey> {
        self.groups().iter().filter(|group| group.is_restored()).map(|group| group.key.clone()).collect()
    }

    /// Changes whenever an Envoy rejected something new.
    #[must_use]
    pub fn watch_rejections(&self) -> watch::Receiver<u64> {
        self.0.rejections.subscribe()
    }

    pub(crate) fn rejected(&self) {
        self.0.rejections.send_modify(|count| *count += 1);
    }

    /// Every stream looks again, though nothing has changed.
    pub(crate) fn wake_streams(&self) {
        for group in self.groups() {
            group.alarms.ring();
        }
    }

    /// A group for a stream. Any client can name a group; not any number of them.
    pub(crate) fn group_of_stream(&self, key: &GroupKey) -> Option<Arc<Group>> {
        let (known, count) = {
            let groups = self.0.groups.read();
            (groups.get(key).cloned(), groups.len())
        };
        known.or_else(|| (count < MOST_GROUPS).then(|| self.group(key)))
    }

    pub(crate) fn group(&self, key: &GroupKey) -> Arc<Group> {
        if let Some(group) = self.0.groups.read().get(key) {
            return group.clone();
        }
        self.0
            .groups
            .write()
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Group::new(key.clone(), self.0.apart.clone())))
            .clone()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = self.0.groups.read().values().cloned().collect();
        groups.sort_by(|a, b| a.key.cmp(&b.key));
        groups
    }

    /// The encoded resources of a group, for the admin pages.
    #[must_use]
    pub fn resources(&self, group: &GroupKey) -> Vec<Resource> {
        self.group(group).resources()
    }

    /// The groups that were ever published or asked for.
    #[must_use]
    pub fn keys(&self) -> Vec<GroupKey> {
        self.groups().iter().map(|group| group.key.clone()).collect()
    }
}
