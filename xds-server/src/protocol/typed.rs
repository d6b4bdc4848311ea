//! One type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xds_api::ResourceType;
use xds_api::google::rpc::Status;

use super::subscription::Subscription;
use super::{Event, IMPATIENCE, Variant, policy, response};
use crate::snapshot::{Entry, FrameKey, TypeState};
use crate::wire::request::{DeltaRequest, SotwRequest, version_entry};

#[derive(Debug)]
pub(crate) struct TypeStream {
    pub kind: ResourceType,
    pub subscription: Subscription,
    /// The state that the client has acknowledged. Names in [`Self::owed`] and [`Self::have`] deviate from it.
    pub base: Option<Arc<TypeState>>,
    /// Names to be sent whatever the base says.
    owed: BTreeSet<Arc<str>>,
    /// Versions that the client has, or has refused, although the base says otherwise: not to be sent again.
    have: BTreeMap<Arc<str>, String>,
    /// Removals that wait for their time.
    removals: BTreeSet<Arc<str>>,
    /// Suspects of a rejection that named nobody: each is sent alone.
    alone: VecDeque<Arc<str>>,
    /// An answer is due, even an empty one.
    answer_due: bool,
    pub pending: Option<Pending>,
    last_nonce: String,
    /// The state whose response was rejected: nothing more of it is sent unasked.
    refused: Option<u64>,
    pub last_error: Option<String>,
}

/// A response that is neither acknowledged nor rejected yet.
#[derive(Debug)]
pub(crate) struct Pending {
    nonce: String,
    pub state: Arc<TypeState>,
    entries: Entries,
    alone: bool,
    pub sent_at: Duration,
}

/// What was in a response, for when it is rejected.
#[derive(Debug)]
enum Entries {
    /// Everything between two states that the subscription wants: shared by many, so not listed.
    Since(Option<Arc<TypeState>>),
    Listed(Vec<Arc<Entry>>),
}

pub(super) struct Sent {
    pub frame: Bytes,
    /// Names that were sent, listed for clusters only.
    pub names: Vec<Arc<str>>,
}

impl TypeStream {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            subscription: Subscription::default(),
            base: None,
            owed: BTreeSet::new(),
            have: BTreeMap::new(),
            removals: BTreeSet::new(),
            alone: VecDeque::new(),
            answer_due: false,
            pending: None,
            last_nonce: String::new(),
            refused: None,
            last_error: None,
        }
    }

    pub(super) fn sotw(&mut self, request: &SotwRequest, state: &Arc<TypeState>) -> Option<Event> {
        let first = self.last_nonce.is_empty() && self.base.is_none();
        let (added, newly_all) = self.subscription.replace(&request.names, policy::legacy_wildcard(self.kind));
        if first {
            // A nonce of another stream means nothing here, and a version only where nothing can have grown.
            let in_step =
                self.subscription.wildcard && policy::full_state(self.kind) && request.version == state.version;
            if in_step && !request.version.is_empty() {
                self.base = Some(state.clone());
            }
            return None;
        }
        if newly_all || (policy::full_state(self.kind) && !added.is_empty()) {
            self.answer_due = true;
        }
        self.owed.extend(added.iter().cloned());
        if request.nonce != self.last_nonce {
            // Stale: its names count, but it acknowledges nothing.
            return None;
        }
        match (&request.error, self.pending.take()) {
            (Some(error), Some(pending)) => Some(self.reject(error, pending)),
            (None, Some(pending)) => Some(self.acknowledge(pending)),
            (None, None) if added.is_empty() && !policy::full_state(self.kind) => {
                // The acknowledged nonce again: the client asks anew, since a parent of these was updated.
                self.owed.extend(self.subscription.names().cloned());
                None
            }
            _ => None,
        }
    }

    pub(super) fn delta(&mut self, request: &DeltaRequest, state: &Arc<TypeState>) -> Option<Event> {
        let first = self.last_nonce.is_empty() && self.base.is_none() && !self.answer_due;
        let legacy = self.subscription.start_delta(!request.subscribe.is_empty(), !request.unsubscribe.is_empty())
            && policy::legacy_wildcard(self.kind);
        if !legacy && request.subscribe.is_empty() && first && request.unsubscribe.is_empty() {
            self.subscription.remove("*");
        }
        for name in &request.subscribe {
            // Asking again for a known name means that the client has forgotten it.
            let name: Arc<str> = Arc::from(name.as_str());
            if &*name == "*" && self.base.is_some() {
                self.owed.extend(state.entries().map(|entry| entry.name.clone()));
            } else if self.base.is_some() {
                self.have.remove(&name);
                self.owed.insert(name.clone());
            }
            self.subscription.add(name);
        }
        for name in &request.unsubscribe {
            self.subscription.remove(name);
            self.owed.remove(name.as_str());
            // Under a wildcard the client must be told what becomes of the name.
            if self.subscription.wildcard && name != "*" {
                self.owed.insert(Arc::from(name.as_str()));
            }
        }
        if first {
            self.answer_due = true;
            if !request.versions.is_empty() {
                self.resume(&request.versions, state);
            }
            return None;
        }
        if request.nonce.is_empty() || request.nonce != self.last_nonce {
            return None;
        }
        match (&request.error, self.pending.take()) {
            (Some(error), Some(pending)) => Some(self.reject(error, pending)),
            (None, Some(pending)) => Some(self.acknowledge(pending)),
            (_, None) => None,
        }
    }

    /// A reconnecting client says what it has: only what differs is owed.
    fn resume(&mut self, versions: &[Bytes], state: &Arc<TypeState>) {
        let mut known = 0;
        for entry in versions {
            let Some((name, version)) = version_entry(entry) else { continue };
            if !self.subscription.wants(name) {
                continue;
            }
            match state.get(name) {
                Some(entry) if entry.version == version => known += 1,
                Some(entry) => {
                    self.owed.insert(entry.name.clone());
                    known += 1;
                }
                None => {
                    self.removals.insert(Arc::from(name));
                }
            }
        }
        let wanted = if self.subscription.wildcard { state.len() } else { self.subscription.len() };
        if known < wanted {
            let has: BTreeSet<&str> = versions.iter().filter_map(version_entry).map(|(name, _)| name).collect();
            if self.subscription.wildcard {
                let missing = state.entries().filter(|entry| !has.contains(&*entry.name));
                self.owed.extend(missing.map(|entry| entry.name.clone()));
            } else {
                let missing = self.subscription.names().filter(|name| !has.contains(&***name));
                self.owed.extend(missing.cloned());
            }
        }
        self.base = Some(state.clone());
    }

    fn acknowledge(&mut self, pending: Pending) -> Event {
        if pending.alone {
            if let (Some(name), Entries::Listed(entries)) = (self.alone.pop_front(), &pending.entries) {
                let version = entries.iter().find(|entry| entry.name == name).map(|entry| entry.version.clone());
                self.have.extend(version.map(|version| (name, version)));
            }
        } else {
            self.base = Some(pending.state);
            self.have.clear();
            self.refused = None;
            self.last_error = None;
        }
        Event::Acknowledged { kind: self.kind, nonce: pending.nonce }
    }

    fn reject(&mut self, error: &Status, pending: Pending) -> Event {
        let entries = match &pending.entries {
            Entries::Listed(entries) => entries.clone(),
            Entries::Since(base) => self.between(base.as_deref(), &pending.state),
        };
        if pending.alone {
            self.alone.pop_front();
        }
        let named: Vec<&Arc<Entry>> = entries.iter().filter(|entry| names(&error.message, &entry.name)).collect();
        let suspects: Vec<&Arc<Entry>> = if named.is_empty() { entries.iter().collect() } else { named };
        if let [culprit] = suspects.as_slice() {
            self.have.insert(culprit.name.clone(), culprit.version.clone());
            self.refused = Some(pending.state.epoch);
            // The others of the response were not applied, or not all: they are still owed.
            let others = entries.iter().filter(|entry| entry.name != culprit.name);
            self.owed.extend(others.map(|entry| entry.name.clone()));
        } else if !pending.alone {
            self.refused = Some(pending.state.epoch);
            if !policy::full_state(self.kind) {
                self.alone = suspects.iter().map(|entry| entry.name.clone()).collect();
            }
        }
        self.last_error = Some(error.message.clone());
        let suspects = suspects.into_iter().map(|entry| (entry.name.clone(), entry.version.clone())).collect();
        Event::Rejected { kind: self.kind, message: error.message.clone(), suspects }
    }

    fn between(&self, base: Option<&TypeState>, state: &TypeState) -> Vec<Arc<Entry>> {
        match base {
            Some(base) => {
                let changed = &state.since(base).changed;
                changed.iter().filter(|entry| self.subscription.wants(&entry.name)).cloned().collect()
            }
            None if self.subscription.wildcard => state.entries().cloned().collect(),
            None => self.subscription.names().filter_map(|name| state.get(name)).cloned().collect(),
        }
    }

    /// Whether the client has, or is known not to take, everything that the state has for it.
    pub(super) fn in_step(&self, state: &TypeState) -> bool {
        if self.subscription.is_empty() {
            return true;
        }
        let refused = self.refused == Some(state.epoch);
        let current = self.base.as_ref().is_some_and(|base| base.epoch == state.epoch || !self.differs(base, state));
        (current || refused) && self.pending.is_none() && self.owed.is_empty() && self.alone.is_empty()
    }

    fn differs(&self, base: &TypeState, state: &TypeState) -> bool {
        let difference = state.since(base);
        difference.changed.iter().any(|entry| self.subscription.wants(&entry.name))
            || difference.removed.iter().any(|name| self.subscription.wants(name))
    }

    /// Whether there is something for the client that it does not have yet.
    pub(super) fn has_additions(&self, state: &TypeState) -> bool {
        if self.subscription.is_empty() || self.refused == Some(state.epoch) {
            return false;
        }
        match &self.base {
            None => true,
            Some(base) if base.epoch == state.epoch => false,
            Some(base) => state.since(base).changed.iter().any(|entry| self.subscription.wants(&entry.name)),
        }
    }

    pub(super) fn owe_again(&mut self, names: &[Arc<str>]) {
        if self.base.is_some() || self.pending.is_some() {
            self.owed.extend(names.iter().filter(|name| self.subscription.wants(name)).cloned());
        }
    }

    pub(super) fn respond(
        &mut self,
        state: &Arc<TypeState>,
        variant: Variant,
        may_remove: bool,
        now: Duration,
        nonces: &mut u64,
    ) -> Option<Sent> {
        if let Some(pending) = &self.pending {
            let newer = pending.state.epoch != state.epoch;
            if !newer || now < pending.sent_at + IMPATIENCE {
                return None;
            }
        }
        if variant == Variant::Sotw && self.subscription.is_empty() {
            self.owed.clear();
            return None;
        }
        if let Some(sent) = self.respond_alone(state, variant, now, nonces) {
            return Some(sent);
        }
        if let Some(sent) = self.respond_shared(state, variant, may_remove, now) {
            return Some(sent);
        }
        self.respond_own(state, variant, may_remove, now, nonces)
    }

    /// The usual case: in step with everyone else, and owed nothing of its own.
    fn respond_shared(
        &mut self,
        state: &Arc<TypeState>,
        variant: Variant,
        may_remove: bool,
        now: Duration,
    ) -> Option<Sent> {
        let deviates = !self.owed.is_empty() || !self.have.is_empty() || !self.removals.is_empty() || self.answer_due;
        let base = self.base.as_ref()?;
        if deviates || base.epoch == state.epoch || self.refused == Some(state.epoch) {
            return None;
        }
        let full = variant == Variant::Sotw && policy::full_state(self.kind);
        let difference = state.since(base);
        let removes = policy::sends_removals(self.kind) && !difference.removed.is_empty();
        if removes && (!may_remove || full) {
            return None;
        }
        let key = FrameKey {
            delta: variant == Variant::Delta,
            from: (!full).then_some(base.epoch),
            subscription: self.subscription.fingerprint(),
        };
        let nonce = state.epoch.to_string();
        let cached = state.frames.lock().get(&key).cloned();
        let frame = match cached {
            Some(frame) => frame,
            None => {
                let entries = self.between(if full { None } else { Some(base) }, state);
                let gone: Vec<Arc<str>> = if removes && variant == Variant::Delta {
                    difference.removed.iter().filter(|name| self.subscription.wants(name)).cloned().collect()
                } else {
                    Vec::new()
                };
                let frame = if entries.is_empty() && gone.is_empty() && !full {
                    Bytes::new()
                } else {
                    response::frame(state, variant, &entries, &gone, &nonce)
                };
                state.frames.lock().insert(key, frame.clone());
                frame
            }
        };
        if frame.is_empty() {
            // Nothing of the change is for this subscription.
            self.base = Some(state.clone());
            return None;
        }
        let names = if self.kind == ResourceType::Cluster {
            difference.changed.iter().map(|entry| entry.name.clone()).collect()
        } else {
            Vec::new()
        };
        let entries = Entries::Since(Some(base.clone()));
        self.pend(state, nonce, entries, false, now);
        Some(Sent { frame, names })
    }

    fn respond_own(
        &mut self,
        state: &Arc<TypeState>,
        variant: Variant,
        may_remove: bool,
        now: Duration,
        nonces: &mut u64,
    ) -> Option<Sent> {
        let full = variant == Variant::Sotw && policy::full_state(self.kind);
        let refused = self.refused == Some(state.epoch);
        let first = self.base.is_none() && self.pending.is_none();
        let mut changed: BTreeMap<Arc<str>, Arc<Entry>> = BTreeMap::new();
        if !refused {
            let entries = self.between(self.base.as_deref(), state);
            changed.extend(entries.into_iter().map(|entry| (entry.name.clone(), entry)));
        }
        let mut missing: BTreeSet<Arc<str>> = BTreeSet::new();
        for name in &self.owed {
            match state.get(name) {
                Some(entry) => drop(changed.insert(name.clone(), entry.clone())),
                None => drop(missing.insert(name.clone())),
            }
        }
        if self.base.is_none() {
            missing.extend(self.subscription.names().filter(|name| state.get(name).is_none()).cloned());
        }
        changed.retain(|name, entry| self.have.get(name).is_none_or(|version| *version != entry.version));
        if let Some(base) = self.base.as_ref().filter(|_| policy::sends_removals(self.kind)) {
            let gone = &state.since(base).removed;
            self.removals.extend(gone.iter().filter(|name| self.subscription.wants(name)).cloned());
        }
        self.removals.retain(|name| state.get(name).is_none());
        let mut removed: BTreeSet<Arc<str>> =
            if may_remove { std::mem::take(&mut self.removals) } else { BTreeSet::new() };
        let removing = !removed.is_empty();
        if variant == Variant::Delta && policy::answers_missing(self.kind) {
            removed.extend(missing);
        }
        let held: Vec<Arc<Entry>> = match &self.base {
            // What is not to be removed yet stays in the full state.
            Some(base) if full => self.removals.iter().filter_map(|name| base.get(name)).cloned().collect(),
            _ => Vec::new(),
        };
        let due = match variant {
            Variant::Delta => !changed.is_empty() || !removed.is_empty() || self.answer_due,
            Variant::Sotw if full => !changed.is_empty() || removing || self.answer_due || first,
            Variant::Sotw => !changed.is_empty(),
        };
        self.owed.clear();
        if !due {
            if !refused && self.pending.is_none() {
                self.base = Some(state.clone());
            }
            return None;
        }
        self.answer_due = false;
        let names: Vec<Arc<str>> = changed.keys().cloned().collect();
        let entries: Vec<Arc<Entry>> = if full {
            let all = self.between(None, state);
            all.into_iter().chain(held).collect()
        } else {
            changed.into_values().collect()
        };
        let removed: Vec<Arc<str>> = removed.into_iter().collect();
        *nonces += 1;
        let nonce = format!("{}.{nonces}", state.epoch);
        let frame = response::frame(state, variant, &entries, &removed, &nonce);
        self.pend(state, nonce, Entries::Listed(entries), false, now);
        Some(Sent { frame, names })
    }

    /// One suspect of a rejection by itself, to find the culprit and to let the innocent through.
    fn respond_alone(
        &mut self,
        state: &Arc<TypeState>,
        variant: Variant,
        now: Duration,
        nonces: &mut u64,
    ) -> Option<Sent> {
        while let Some(name) = self.alone.front() {
            let Some(entry) = state.get(name).filter(|entry| self.subscription.wants(&entry.name)).cloned() else {
                self.alone.pop_front();
                continue;
            };
            *nonces += 1;
            let nonce = format!("{}.{nonces}", state.epoch);
            let frame = response::frame(state, variant, std::slice::from_ref(&entry), &[], &nonce);
            let names = vec![entry.name.clone()];
            self.pend(state, nonce, Entries::Listed(vec![entry]), true, now);
            return Some(Sent { frame, names });
        }
        None
    }

    fn pend(&mut self, state: &Arc<TypeState>, nonce: String, entries: Entries, alone: bool, now: Duration) {
        self.last_nonce.clone_from(&nonce);
        self.pending = Some(Pending { nonce, state: state.clone(), entries, alone, sent_at: now });
    }
}

/// Whether a message speaks of a resource: the name, not as a part of a longer one.
fn names(message: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.' | '|');
    message.match_indices(name).any(|(at, _)| {
        let before = message[..at].chars().next_back();
        let after = message[at + name.len()..].chars().next();
        // A sentence may end behind the name.
        !before.is_some_and(part) && !after.is_some_and(|c| part(c) && c != '.')
    })
}
