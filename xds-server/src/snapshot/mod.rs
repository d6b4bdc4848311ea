//! What each group of Envoys is to have.

mod group;
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
pub(crate) use state::{Entry, FrameKey, TypeState, put_field};

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

/// The snapshots of all groups. Cloning it is cheap: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ready: AtomicBool,
    groups: RwLock<FxHashMap<GroupKey, Arc<Group>>>,
    /// Counts rejections, for whoever waits for them.
    rejections: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { ready: AtomicBool::new(false), groups: RwLock::default(), rejections: watch::Sender::new(0) }
    }
}

impl Snapshots {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    /// Changes whenever an Envoy rejected something new.
    #[must_use]
    pub fn watch_rejections(&self) -> watch::Receiver<u64> {
        self.0.rejections.subscribe()
    }

    pub(crate) fn rejected(&self) {
        self.0.rejections.send_modify(|count| *count += 1);
    }

    pub(crate) fn group(&self, key: &GroupKey) -> Arc<Group> {
        if let Some(group) = self.0.groups.read().get(key) {
            return group.clone();
        }
        self.0.groups.write().entry(key.clone()).or_insert_with(|| Arc::new(Group::new(key.clone()))).clone()
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
