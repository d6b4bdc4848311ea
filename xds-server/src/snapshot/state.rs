//! The state of one type in one group: immutable, shared by every stream that was sent it.
//!
//! States share structure: the next one costs what changed. A state's version is a hash over what is in it, so two servers
//! with the same resources agree without talking, and a restarted one agrees with itself.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use imbl::{OrdMap, Vector};
use parking_lot::Mutex;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use rustc_hash::FxHashMap;
use xds_api::{Resource, ResourceType, references};
use xxhash_rust::xxh3::xxh3_64;

use super::links::Key;
use crate::protocol::Subscription;

/// How many changes a state remembers, so that a stream which is a few states behind costs what changed meanwhile.
const REMEMBERED: usize = 4096;

/// How many subscriptions' sums are kept.
const MOST_SUMS: usize = 1024;

/// One resource, encoded for both protocol variants.
#[derive(Debug)]
pub(crate) struct Entry {
    pub kind: ResourceType,
    pub name: Arc<str>,
    pub version: String,
    hash: u64,
    /// What a client that has it adds to its sum.
    told: u64,
    pub body: Bytes,
    /// The entry as field 2 of a `DiscoveryResponse`: an `Any`.
    pub sotw: Bytes,
    /// The entry as field 2 of a `DeltaDiscoveryResponse`: a `Resource`.
    pub delta: Bytes,
    /// The endpoint set that a cluster takes its endpoints from: a cluster that is sent again begins without them.
    pub endpoints: Option<Arc<str>>,
    /// What it names, in order.
    pub names: Arc<[Key]>,
}

/// For each type: which entries name something of it, as one sum over their contents.
///
/// Envoy asks for names of that type because of these entries, and for no other reason: while the sum is the same, nothing was
/// asked for anew.
#[derive(Clone, Copy, Debug, Default)]
struct Naming([u64; ResourceType::ALL.len()]);

impl Naming {
    fn toggle(&mut self, entry: &Entry) {
        for kind in ResourceType::ALL {
            if entry.names.iter().any(|(named, _)| *named == kind) {
                self.0[kind as usize] ^= entry.hash;
            }
        }
    }
}

/// As much of a cluster as says where its endpoints come from.
#[derive(Clone, PartialEq, prost::Message)]
struct LeanCluster {
    #[prost(message, optional, tag = "3")]
    eds: Option<LeanEds>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeanEds {
    #[prost(string, tag = "2")]
    service_name: String,
}

fn endpoints_of(kind: ResourceType, name: &Arc<str>, body: &Bytes) -> Option<Arc<str>> {
    if kind != ResourceType::Cluster {
        return None;
    }
    let eds = LeanCluster::decode(body.clone()).ok()?.eds?;
    Some(if eds.service_name.is_empty() { name.clone() } else { Arc::from(eds.service_name) })
}

impl Entry {
    pub(crate) fn new(resource: Resource) -> Self {
        let names = Arc::from(references(&resource));
        let Resource { kind, name, body } = resource;
        let content = xxh3_64(&body);
        let version = version_text(content);
        let mut any = BytesMut::with_capacity(body.len() + 96);
        put_field(1, kind.type_url().as_bytes(), &mut any);
        put_field(2, &body, &mut any);
        let mut sotw = BytesMut::with_capacity(any.len() + 8);
        put_field(2, &any, &mut sotw);
        let mut inner = BytesMut::with_capacity(any.len() + name.len() + 32);
        put_field(1, version.as_bytes(), &mut inner);
        put_field(2, &any, &mut inner);
        put_field(3, name.as_bytes(), &mut inner);
        let mut delta = BytesMut::with_capacity(inner.len() + 8);
        put_field(2, &inner, &mut delta);
        let hash = xxh3_64(name.as_bytes()).rotate_left(17) ^ content;
        let told = told(name.as_bytes(), version.as_bytes());
        let endpoints = endpoints_of(kind, &name, &body);
        Self { kind, name, version, hash, told, body, sotw: sotw.freeze(), delta: delta.freeze(), endpoints, names }
    }

    pub(crate) fn key(&self) -> Key {
        (self.kind, self.name.clone())
    }

    pub(crate) fn resource(&self) -> Resource {
        Resource { kind: self.kind, name: self.name.clone(), body: self.body.clone() }
    }
}

pub(crate) fn put_field(tag: u32, content: &[u8], buffer: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(content.len() as u64, buffer);
    buffer.reserve(content.len());
    buffer.put_slice(content);
}

/// Eleven characters of base64: short, for a reconnecting Envoy repeats it for every resource.
pub(crate) fn version_text(hash: u64) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.to_be_bytes())
}

/// What a name and its version add to a sum.
pub(crate) fn told(name: &[u8], version: &[u8]) -> u64 {
    xxh3_64(name).rotate_left(17) ^ xxh3_64(version)
}

/// Names and versions in any order: equal sums are equal entries, but for chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    count: usize,
    hashes: u64,
}

impl Sum {
    pub(crate) fn with(self, hash: u64) -> Self {
        Self { count: self.count + 1, hashes: self.hashes ^ hash }
    }
}

/// What lies between two states.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub changed: Vec<Arc<Entry>>,
    pub removed: Vec<Arc<str>>,
}

/// Names that changed at an epoch.
#[derive(Clone, Debug)]
struct Step {
    epoch: u64,
    name: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct TypeState {
    pub kind: ResourceType,
    /// Grows with every change of this type in this group, on this server.
    pub epoch: u64,
    pub published: SystemTime,
    entries: OrdMap<Arc<str>, Arc<Entry>>,
    content: u64,
    told: u64,
    naming: Naming,
    pub version: String,
    steps: Vector<Step>,
    /// The oldest epoch from which the steps lead here.
    remembered_from: u64,
    differences: Mutex<FxHashMap<u64, Arc<Difference>>>,
    /// By subscription; none where a name of it is not there.
    sums: Mutex<FxHashMap<u64, Option<Sum>>>,
    /// Of what is there of the names of a subscription.
    contents: Mutex<FxHashMap<u64, u64>>,
    /// Frames by the state they start from and the subscription they are for.
    pub frames: Mutex<FxHashMap<FrameKey, Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FrameKey {
    pub delta: bool,
    pub from: Option<u64>,
    pub subscription: u64,
    /// What its version says of other types, where it says anything.
    pub names_from: Option<u64>,
}

impl TypeState {
    pub(crate) fn empty(kind: ResourceType, published: SystemTime) -> Self {
        Self {
            kind,
            epoch: 0,
            published,
            entries: OrdMap::new(),
            content: 0,
            told: 0,
            naming: Naming::default(),
            version: version_text(0),
            steps: Vector::new(),
            remembered_from: 0,
            differences: Mutex::default(),
            sums: Mutex::default(),
            contents: Mutex::default(),
            frames: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.get(name)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    pub(crate) fn sum(&self) -> Sum {
        Sum { count: self.entries.len(), hashes: self.told }
    }

    /// Of the names of a subscription, if all are there. Found once for all streams that want the same.
    pub(crate) fn sum_of(&self, subscription: &Subscription) -> Option<Sum> {
        let key = subscription.fingerprint();
        if let Some(found) = self.sums.lock().get(&key) {
            return *found;
        }
        let add = |sum: Sum, name: &Arc<str>| Some(sum.with(self.get(name)?.told));
        let sum = subscription.names().try_fold(Sum::default(), add);
        let mut sums = self.sums.lock();
        if sums.len() >= MOST_SUMS {
            sums.clear();
        }
        sums.insert(key, sum);
        sum
    }

    /// What names resources of a type, as a sum that changes with it.
    pub(crate) fn naming(&self, kind: ResourceType) -> u64 {
        self.naming.0[kind as usize]
    }

    /// A version for a response after which a client has all that there is of the names of a subscription.
    ///
    /// `names_from` is what made the client ask for these names: a client that tells this version, asks for these names, and
    /// was sent nothing else that could have made it forget one and ask for it anew, has them all.
    ///
    /// It is worked out at the cost of what changed `since` a state for which it was.
    pub(crate) fn version_of(&self, subscription: &Subscription, names_from: u64, since: Option<&Self>) -> String {
        version_text(self.content_of(subscription, since) ^ names_from.rotate_left(29))
    }

    fn content_of(&self, subscription: &Subscription, since: Option<&Self>) -> u64 {
        if subscription.wildcard {
            return self.content;
        }
        let key = subscription.fingerprint();
        let known = |state: &Self| state.contents.lock().get(&key).copied();
        if let Some(found) = known(self) {
            return found;
        }
        let hash = |state: &Self, name: &str| state.get(name).map_or(0, |entry| entry.hash);
        let content = match since.and_then(|since| Some((since, known(since)?))) {
            Some((since, before)) => {
                let difference = self.since(since);
                let names = difference.changed.iter().map(|entry| &entry.name).chain(&difference.removed);
                let wanted = names.filter(|name| subscription.wants(name));
                wanted.fold(before, |sum, name| sum ^ hash(since, name) ^ hash(self, name))
            }
            None => subscription.names().fold(0, |sum, name| sum ^ hash(self, name)),
        };
        let mut contents = self.contents.lock();
        if contents.len() >= MOST_SUMS {
            contents.clear();
        }
        contents.insert(key, content);
        content
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The next state; none when nothing differs.
    pub(crate) fn next(
        &self,
        set: Vec<Arc<Entry>>,
        remove: impl IntoIterator<Item = Arc<str>>,
        published: SystemTime,
    ) -> Option<Self> {
        let mut entries = self.entries.clone();
        let (mut content, mut told, mut naming) = (self.content, self.told, self.naming);
        let mut changed = Vec::new();
        for entry in set {
            let before = entries.get(&entry.name);
            if before.is_some_and(|before| before.body == entry.body) {
                continue;
            }
            content ^= before.map_or(0, |before| before.hash) ^ entry.hash;
            told ^= before.map_or(0, |before| before.told) ^ entry.told;
            before.into_iter().for_each(|before| naming.toggle(before));
            naming.toggle(&entry);
            changed.push(entry.name.clone());
            entries.insert(entry.name.clone(), entry);
        }
        for name in remove {
            if let Some(entry) = entries.remove(&name) {
                content ^= entry.hash;
                told ^= entry.told;
                naming.toggle(&entry);
                changed.push(name);
            }
        }
        if changed.is_empty() {
            return None;
        }
        let epoch = self.epoch + 1;
        let mut steps = self.steps.clone();
        let mut remembered_from = self.remembered_from;
        if changed.len() > REMEMBERED {
            steps = Vector::new();
            remembered_from = epoch;
        } else {
            steps.extend(changed.into_iter().map(|name| Step { epoch, name }));
            while steps.len() > REMEMBERED {
                if let Some(step) = steps.pop_front() {
                    remembered_from = step.epoch;
                }
            }
        }
        Some(Self {
            kind: self.kind,
            epoch,
            published,
            entries,
            content,
            told,
            naming,
            version: version_text(content),
            steps,
            remembered_from,
            differences: Mutex::default(),
            sums: Mutex::default(),
            contents: Mutex::default(),
            frames: Mutex::default(),
        })
    }

    /// What an Envoy that has `base` is to be sent. Found once for all streams with the same base.
    pub(crate) fn since(&self, base: &Self) -> Arc<Difference> {
        if let Some(found) = self.differences.lock().get(&base.epoch) {
            return found.clone();
        }
        let difference = Arc::new(self.compare(base));
        self.differences.lock().insert(base.epoch, difference.clone());
        difference
    }

    fn compare(&self, base: &Self) -> Difference {
        let mut names: Vec<&Arc<str>> = if base.epoch >= self.remembered_from {
            let later = self.steps.iter().rev().take_while(|step| step.epoch > base.epoch);
            later.map(|step| &step.name).collect()
        } else {
            self.entries.keys().chain(base.entries.keys()).collect()
        };
        names.sort_unstable();
        names.dedup();
        let mut difference = Difference::default();
        for name in names {
            match (base.entries.get(name), self.entries.get(name)) {
                (Some(before), Some(now)) if before.hash == now.hash => {}
                (_, Some(now)) => difference.changed.push(now.clone()),
                (Some(_), None) => difference.removed.push(name.clone()),
                (None, None) => {}
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, body: &str) -> Arc<Entry> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Arc::new(Entry::new(Resource { kind: ResourceType::Cluster, name: name.into(), body }))
    }

    fn state() -> TypeState {
        TypeState::empty(ResourceType::Cluster, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn versions_depend_on_content_and_not_on_the_way_there() {
        let now = SystemTime::UNIX_EPOCH;
        let one = state().next(vec![resource("a", "1"), resource("b", "2")], [], now).unwrap();
        let two = state().next(vec![resource("b", "9")], [], now).unwrap();
        let two = two.next(vec![resource("a", "1"), resource("b", "2"), resource("c", "3")], [], now).unwrap();
        let two = two.next(vec![], [Arc::from("c")], now).unwrap();
        assert_eq!(one.version, two.version);
        assert_ne!(one.epoch, two.epoch);
        assert!(one.next(vec![resource("a", "1")], [], now).is_none());
    }

    #[test]
    fn a_difference_names_what_changed_and_what_went() {
        let now = SystemTime::UNIX_EPOCH;
        let base = state().next(vec![resource("a", "1"), resource("b", "2")], [], now).unwrap();
        let next = base.next(vec![resource("a", "3")], [Arc::from("b")], now).unwrap();
        let next = next.next(vec![resource("c", "4")], [], now).unwrap();
        let difference = next.since(&base);
        let names: Vec<&str> = difference.changed.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(difference.removed, [Arc::from("b")]);
        let back = next.next(vec![resource("a", "1"), resource("b", "2")], [Arc::from("c")], now).unwrap();
        assert!(back.since(&base).changed.is_empty(), "what came back needs no message");
    }
}
