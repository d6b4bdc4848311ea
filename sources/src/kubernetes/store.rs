//! What is held, and what of it changed since the last batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinds::{Diagnostic, Object, ObjectId, Parsed, Reading, Unreadable};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::feed::Feed;
use super::read::Read;
use crate::{Batch, SourceChange};

/// An object in one of the groups of its kind; the lowest rank is in force.
type Slot = (ObjectId, u8);

#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<Slot, Entry>,
    findings: BTreeMap<Slot, Vec<Diagnostic>>,
    findings_changed: bool,
    /// What the next batch has to look at.
    touched: BTreeSet<ObjectId>,
    /// What the last batch left in force.
    in_force: FxHashMap<ObjectId, Arc<Object>>,
    /// Objects that are read on demand, by name.
    noticed: BTreeMap<SmolStr, BTreeMap<ObjectId, Noticed>>,
    /// How many objects mention a name.
    mentions: FxHashMap<SmolStr, usize>,
    to_fetch: BTreeSet<ObjectId>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The last good version; none when there never was one.
    object: Option<Arc<Object>>,
    names: Box<[SmolStr]>,
}

#[derive(Debug)]
struct Noticed {
    /// The resource version that is there, and the one whose content is held.
    version: SmolStr,
    held: Option<SmolStr>,
}

impl Store {
    pub(super) fn put(&mut self, feed: Feed, read: Read) {
        let slot = (read.id, feed.rank());
        let before = self.entries.get(&slot).map(|entry| entry.names.clone()).unwrap_or_default();
        let mut names = read.names;
        if !matches!(read.parsed, Ok(Parsed::Object(..))) {
            // The last good version stays, and so does what it mentions.
            names.extend(before.iter().cloned());
            names.sort();
            names.dedup();
        }
        let names = names.into_boxed_slice();
        if before != names {
            // First the new ones, so that what both mention is not forgotten between.
            self.mention(&names);
            self.forget(&before);
        }
        let entry = self.entries.entry(slot.clone()).or_default();
        entry.names = names;
        let mut findings = Vec::new();
        match read.parsed {
            Ok(Parsed::Object(object, remarks)) => {
                findings = remarks;
                if entry.object.as_deref() != Some(&*object) {
                    entry.object = Some(Arc::from(object));
                    self.touched.insert(slot.0.clone());
                }
            }
            Ok(Parsed::Refused(_, refusals)) => {
                if let (Some(_), Some(first)) = (&entry.object, refusals.first()) {
                    findings.push(stale(&slot.0, first));
                }
                findings.extend(refusals);
            }
            Ok(Parsed::Skipped(remark)) => findings.push(remark),
            Err(unreadable) => {
                let Unreadable { refusal, finding, target, .. } = *unreadable;
                let now = match entry.object.as_deref().filter(|object| object.unread().is_none()) {
                    Some(last) => {
                        findings.push(stale(&slot.0, &finding));
                        Some(Object { reading: Reading::Last(refusal), ..last.clone() })
                    }
                    None => target,
                };
                findings.push(finding);
                if entry.object.as_deref() != now.as_ref() {
                    entry.object = now.map(Arc::new);
                    self.touched.insert(slot.0.clone());
                }
            }
        }
        self.find(slot, findings);
    }

    pub(super) fn remove(&mut self, feed: Feed, id: &ObjectId) {
        if feed.is_read_on_demand() {
            self.unnotice(id);
        }
        self.drop_entry((id.clone(), feed.rank()));
    }

    /// Everything of a kind that is not defined any more.
    pub(super) fn remove_all(&mut self, ids: impl IntoIterator<Item = ObjectId>, feed: Feed) {
        for id in ids {
            self.remove(feed, &id);
        }
    }

    pub(super) fn notice(&mut self, id: ObjectId, version: SmolStr) {
        let wanted = self.mentions.contains_key(&id.name);
        let by_id = self.noticed.entry(id.name.clone()).or_default();
        let noticed = by_id.entry(id.clone()).or_insert_with(|| Noticed { version: version.clone(), held: None });
        noticed.version = version;
        if wanted && noticed.held.as_ref() != Some(&noticed.version) {
            self.to_fetch.insert(id);
        }
    }

    /// What has to be read before the next batch.
    pub(super) fn take_to_fetch(&mut self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut self.to_fetch)
    }

    /// The content of an object that is read on demand, in a version; none when it is gone or may not be read.
    pub(super) fn fetched(&mut self, id: &ObjectId, read: Option<(SmolStr, Read)>) {
        let noticed = self.noticed.get_mut(&id.name).and_then(|by_id| by_id.get_mut(id));
        let (Some(noticed), Some((version, read))) = (noticed, read) else {
            self.drop_entry((id.clone(), 0));
            return;
        };
        noticed.held = Some(version);
        if self.mentions.contains_key(&id.name) {
            self.put(Feed::of(id.kind), read);
        }
    }

    pub(super) fn has_changed(&self) -> bool {
        !self.touched.is_empty() || self.findings_changed
    }

    /// How many objects have changed.
    pub(super) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// The step from the last batch to now.
    pub(super) fn batch(&mut self) -> Batch {
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let slots = self.entries.range((id.clone(), 0)..=(id.clone(), u8::MAX));
            let now = slots.filter_map(|(_, entry)| entry.object.clone()).next();
            match now {
                Some(object) => {
                    let before = self.in_force.insert(id, object.clone());
                    if !before.is_some_and(|before| Arc::ptr_eq(&before, &object)) {
                        changes.push(SourceChange::Put(object));
                    }
                }
                None => {
                    if self.in_force.remove(&id).is_some() {
                        changes.push(SourceChange::Remove(id));
                    }
                }
            }
        }
        self.findings_changed = false;
        Batch { changes, diagnostics: self.findings.values().flatten().cloned().collect(), noticed: None }
    }

    fn drop_entry(&mut self, slot: Slot) {
        if let Some(entry) = self.entries.remove(&slot) {
            self.forget(&entry.names);
            self.touched.insert(slot.0.clone());
        }
        self.find(slot, Vec::new());
    }

    fn find(&mut self, slot: Slot, findings: Vec<Diagnostic>) {
        let before = if findings.is_empty() {
            self.findings.remove(&slot)
        } else {
            self.findings.insert(slot.clone(), findings)
        };
        self.findings_changed |= before.as_ref() != self.findings.get(&slot);
    }

    fn mention(&mut self, names: &[SmolStr]) {
        for name in names {
            let count = self.mentions.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.to_fetch.extend(self.noticed.get(name).into_iter().flat_map(|by_id| by_id.keys().cloned()));
            }
        }
    }

    /// What nothing mentions any more is not kept.
    fn forget(&mut self, names: &[SmolStr]) {
        for name in names {
            let Some(count) = self.mentions.get_mut(name) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.mentions.remove(name);
            let mut dropped = Vec::new();
            for (id, noticed) in self.noticed.get_mut(name).into_iter().flatten() {
                noticed.held = None;
                dropped.push(id.clone());
            }
            for id in dropped {
                self.to_fetch.remove(&id);
                self.drop_entry((id, 0));
            }
        }
    }

    fn unnotice(&mut self, id: &ObjectId) {
        if let Some(by_id) = self.noticed.get_mut(&id.name) {
            by_id.remove(id);
            if by_id.is_empty() {
                self.noticed.remove(&id.name);
            }
        }
        self.to_fetch.remove(id);
    }
}

fn stale(id: &ObjectId, finding: &Diagnostic) -> Diagnostic {
    let message = format!("the last good version of {id} stays in force until the object is repaired");
    Diagnostic::warning("stale-object", finding.place.clone(), message).about(id)
}

#[cfg(test)]
mod tests {
    use kinds::gateway::GatewaySpec;
    use kinds::{Kind, Origin};
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::read::read;

    fn read_of(kind: Kind, value: &Value) -> Read {
        let feed = Feed::of(kind);
        let object: DynamicObject = serde_json::from_value(value.clone()).unwrap();
        read(feed, kind.info().versions[0], object, &Origin::without_text("kubernetes"))
    }

    fn put(store: &mut Store, kind: Kind, value: &Value) {
        store.put(Feed::of(kind), read_of(kind, value));
    }

    fn gateway(certificate: &str) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"gatewayClassName": "c", "listeners": [
            {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": certificate}]}}]}})
    }

    fn secret(name: &str) -> ObjectId {
        ObjectId::new(Kind::Secret, "shop", name)
    }

    fn words(batch: &Batch) -> Vec<String> {
        let word = |change: &SourceChange| match change {
            SourceChange::Put(object) => format!("put {}", object.id),
            SourceChange::Remove(id) => format!("remove {id}"),
        };
        batch.changes.iter().map(word).collect()
    }

    #[test]
    fn what_did_not_change_is_no_change() {
        let mut store = Store::default();
        put(&mut store, Kind::Gateway, &gateway("a"));
        assert_eq!(words(&store.batch()), ["put Gateway shop/web"]);
        put(&mut store, Kind::Gateway, &gateway("a"));
        assert!(!store.has_changed());
    }

    #[test]
    fn only_what_is_mentioned_is_read_and_kept() {
        let mut store = Store::default();
        for name in ["a", "b", "c"] {
            store.notice(secret(name), "1".into());
        }
        assert!(store.take_to_fetch().is_empty());
        put(&mut store, Kind::Gateway, &gateway("a"));
        assert_eq!(store.take_to_fetch(), [secret("a")].into());
        let content = json!({"metadata": {"name": "a", "namespace": "shop"}, "data": {}});
        store.fetched(&secret("a"), Some(("1".into(), read_of(Kind::Secret, &content))));
        assert_eq!(words(&store.batch()), ["put Gateway shop/web", "put Secret shop/a"]);
        store.notice(secret("a"), "1".into());
        assert!(store.take_to_fetch().is_empty(), "that version is held");
        put(&mut store, Kind::Gateway, &gateway("b"));
        assert_eq!(store.take_to_fetch(), [secret("b")].into());
        assert_eq!(words(&store.batch()), ["put Gateway shop/web", "remove Secret shop/a"]);
    }

    #[test]
    fn a_broken_version_leaves_the_last_good_one_until_the_object_is_gone() {
        let mut store = Store::default();
        put(&mut store, Kind::Gateway, &gateway("a"));
        store.batch();
        let broken = json!({"metadata": {"name": "web", "namespace": "shop", "generation": 7},
            "spec": {"gatewayClassName": "c", "listeners": 1}});
        put(&mut store, Kind::Gateway, &broken);
        let batch = store.batch();
        let [SourceChange::Put(last)] = batch.changes.as_slice() else { panic!("{:?}", words(&batch)) };
        assert_eq!(last.spec::<GatewaySpec>().unwrap().listeners.len(), 1);
        assert_eq!((last.refusal().unwrap().generation, last.unread()), (7, None));
        assert_eq!(
            batch.diagnostics.iter().map(|found| found.code).collect::<Vec<_>>(),
            ["stale-object", "invalid-field"]
        );
        store.remove(Feed::of(Kind::Gateway), &ObjectId::new(Kind::Gateway, "shop", "web"));
        let batch = store.batch();
        assert_eq!(words(&batch), ["remove Gateway shop/web"]);
        assert!(batch.diagnostics.is_empty());

        // Where there never was a good one, what it is about is left.
        put(&mut store, Kind::Gateway, &broken);
        let batch = store.batch();
        let [SourceChange::Put(target)] = batch.changes.as_slice() else { panic!("{:?}", words(&batch)) };
        assert_eq!(target.unread().unwrap().generation, 7);
        put(&mut store, Kind::Gateway, &broken);
        assert!(!store.has_changed());
    }
}
