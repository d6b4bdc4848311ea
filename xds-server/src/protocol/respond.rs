//! What a client is sent next, of one type.
//!
//! Every response carries all that the client is not known to have, so a response that overtakes an unacknowledged one
//! repeats what was in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xds_api::ResourceType;

use super::typed::{Entries, Pending, TypeStream};
use super::{IMPATIENCE, Variant, policy, response};
use crate::snapshot::{Entry, FrameKey, TypeState};

pub(super) struct Sent {
    pub frame: Bytes,
    /// The endpoint sets of the clusters that were sent.
    pub endpoints: Vec<Arc<str>>,
}

/// The circumstances of a response.
#[derive(Clone, Copy)]
pub(super) struct Occasion {
    pub variant: Variant,
    pub may_remove: bool,
    /// What made the client ask for names of this type ([`super::Stream::names_from`]); none where that is not known.
    pub names_from: Option<u64>,
    pub now: Duration,
}

impl TypeStream {
    pub(super) fn respond(&mut self, state: &Arc<TypeState>, on: Occasion, nonces: &mut u64) -> Option<Sent> {
        if let Some(pending) = &self.pending {
            if on.now < pending.sent_at + IMPATIENCE || !self.more_than_pending(state) {
                return None;
            }
            self.overtake(state);
        }
        if on.variant == Variant::Sotw && self.subscription.is_empty() {
            self.owed.clear();
            (self.answer_due, self.in_doubt) = (false, false);
            return None;
        }
        let in_step = self.base.as_ref().is_some_and(|base| base.epoch == state.epoch);
        let removes = on.may_remove && !self.removals.is_empty();
        if in_step && self.owed.is_empty() && self.alone.is_empty() && !self.answer_due && !removes {
            return None;
        }
        if let Some(sent) = self.respond_alone(state, on, nonces) {
            return Some(sent);
        }
        if let Some(sent) = self.respond_first(state, on) {
            return Some(sent);
        }
        if let Some(sent) = self.respond_shared(state, on) {
            return Some(sent);
        }
        self.respond_own(state, on, nonces)
    }

    /// When an unacknowledged response may be overtaken, if there is reason to.
    pub(super) fn impatient_at(&self, state: &TypeState) -> Option<Duration> {
        let pending = self.pending.as_ref()?;
        self.more_than_pending(state).then_some(pending.sent_at + IMPATIENCE)
    }

    fn more_than_pending(&self, state: &TypeState) -> bool {
        let newer = |pending: &Pending| self.differs(&pending.state, state);
        !self.owed.is_empty() || self.answer_due || self.pending.as_ref().is_some_and(newer)
    }

    /// The client may have taken the response by now, or not: whatever was in it is settled by the next.
    fn overtake(&mut self, state: &TypeState) {
        let Some(pending) = self.pending.take() else { return };
        for entry in self.entries_of(&pending) {
            if state.get(&entry.name).is_some() {
                self.owed.insert(entry.name.clone());
            } else if policy::sends_removals(self.kind) {
                // Nobody says that it was good, so it is not held in a full state either.
                self.removals.insert(entry.name.clone(), None);
            }
        }
        self.owed.extend(pending.owed);
        self.removals.extend(pending.removed.into_iter().map(|name| (name, None)));
    }

    /// The usual case: in step with everyone else, and owed nothing of its own.
    fn respond_shared(&mut self, state: &Arc<TypeState>, on: Occasion) -> Option<Sent> {
        let deviates = !self.owed.is_empty()
            || !self.have.is_empty()
            || !self.refused.is_empty()
            || !self.removals.is_empty()
            || self.answer_due;
        let base = self.base.as_ref()?;
        if deviates || base.epoch == state.epoch {
            return None;
        }
        let full = on.variant == Variant::Sotw && policy::full_state(self.kind);
        let difference = state.since(base);
        let removes = policy::sends_removals(self.kind) && !difference.removed.is_empty();
        if removes && !on.may_remove {
            return None;
        }
        let key = FrameKey {
            delta: on.variant == Variant::Delta,
            from: (!full).then_some(base.epoch),
            subscription: self.subscription.fingerprint(),
            names_from: self.says_names_from(on),
        };
        if full && !self.differs(base, state) {
            // Nothing of the change is for this subscription.
            self.base = Some(state.clone());
            return None;
        }
        let nonce = shared_nonce(state);
        let cached = state.frames.lock().get(&key).cloned();
        let frame = match cached {
            Some(frame) => frame,
            None => {
                let entries = self.between(if full { None } else { Some(base) }, state);
                let gone: Vec<Arc<str>> = if removes && on.variant == Variant::Delta {
                    difference.removed.iter().filter(|name| self.subscription.wants(name)).cloned().collect()
                } else {
                    Vec::new()
                };
                let frame = if entries.is_empty() && gone.is_empty() && !full {
                    Bytes::new()
                } else {
                    response::frame(state, on.variant, &self.version(state, on), &entries, &gone, &nonce)
                };
                state.frames.lock().insert(key, frame.clone());
                frame
            }
        };
        if frame.is_empty() {
            self.base = Some(state.clone());
            return None;
        }
        let endpoints = endpoints_of(self.kind, &difference.changed);
        let entries = Entries::Since(base.clone());
        self.names_from = self.says_names_from(on);
        self.pend(state, nonce, entries, on.now);
        Some(Sent { frame, endpoints })
    }

    /// All that there is, for a client of which nothing is known: many at once, when a fleet starts.
    fn respond_first(&mut self, state: &Arc<TypeState>, on: Occasion) -> Option<Sent> {
        let deviates = !self.owed.is_empty()
            || !self.have.is_empty()
            || !self.refused.is_empty()
            || !self.removals.is_empty()
            || !self.last_nonce.is_empty();
        if deviates || self.base.is_some() || !self.answer_due {
            return None;
        }
        let key = FrameKey {
            delta: on.variant == Variant::Delta,
            from: None,
            subscription: self.subscription.fingerprint(),
            names_from: self.says_names_from(on),
        };
        let nonce = shared_nonce(state);
        let entries = || self.between(None, state);
        let cached = state.frames.lock().get(&key).cloned();
        let frame = match cached {
            Some(frame) => frame,
            None => {
                let entries = entries();
                let missing: Vec<Arc<str>> = if on.variant == Variant::Delta && policy::answers_missing(self.kind) {
                    self.subscription.names().filter(|name| state.get(name).is_none()).cloned().collect()
                } else {
                    Vec::new()
                };
                if entries.is_empty() && !(on.variant == Variant::Delta || policy::full_state(self.kind)) {
                    return None;
                }
                let frame = response::frame(state, on.variant, &self.version(state, on), &entries, &missing, &nonce);
                state.frames.lock().insert(key, frame.clone());
                frame
            }
        };
        let endpoints =
            if self.kind == ResourceType::Cluster { endpoints_of(self.kind, &entries()) } else { Vec::new() };
        self.answer_due = false;
        self.names_from = self.says_names_from(on);
        self.pend(state, nonce, Entries::All, on.now);
        Some(Sent { frame, endpoints })
    }

    fn respond_own(&mut self, state: &Arc<TypeState>, on: Occasion, nonces: &mut u64) -> Option<Sent> {
        let full = on.variant == Variant::Sotw && policy::full_state(self.kind);
        let candidates = self.between(self.base.as_deref(), state).into_iter().filter(|entry| !self.settled(entry));
        let mut changed: BTreeMap<Arc<str>, Arc<Entry>> = candidates.map(|entry| (entry.name.clone(), entry)).collect();
        let mut missing: BTreeSet<Arc<str>> = BTreeSet::new();
        let owed = std::mem::take(&mut self.owed);
        for name in owed.iter().cloned() {
            if !self.subscription.wants(&name) {
                continue;
            }
            match self.acceptable(&name, state) {
                Some(entry) => drop(changed.insert(name, entry)),
                None if state.get(&name).is_none() => drop(missing.insert(name)),
                None => {}
            }
        }
        if self.base.is_none() {
            missing.extend(self.subscription.names().filter(|name| state.get(name).is_none()).cloned());
        }
        if let Some(base) = self.base.as_ref().filter(|_| policy::sends_removals(self.kind)) {
            let gone = state.since(base);
            let held = gone.removed.iter().filter(|name| self.holds(base, name));
            let held: Vec<_> = held.map(|name| (name.clone(), base.get(name).cloned())).collect();
            self.removals.extend(held);
        }
        self.refused.retain(|name, version| state.get(name).is_some_and(|entry| entry.version == *version));
        self.removals.retain(|name, _| state.get(name).is_none());
        let mut removed: BTreeSet<Arc<str>> =
            if on.may_remove { std::mem::take(&mut self.removals).into_keys().collect() } else { BTreeSet::new() };
        let removing = !removed.is_empty();
        if on.variant == Variant::Delta && policy::answers_missing(self.kind) {
            removed.extend(missing);
        }
        let due = match on.variant {
            Variant::Delta => !changed.is_empty() || !removed.is_empty() || self.answer_due,
            Variant::Sotw if full => !changed.is_empty() || removing || self.answer_due,
            Variant::Sotw => !changed.is_empty(),
        };
        self.answer_due = false;
        if !due {
            // Whatever is left of the difference the client took already, or will not take.
            self.base = Some(state.clone());
            // What could be asked for anew would be there.
            self.in_doubt = false;
            self.have.clear();
            return None;
        }
        let entries: Vec<Arc<Entry>> = if full {
            let all = self.between(None, state);
            let taken = all.iter().filter_map(|entry| self.acceptable(&entry.name, state));
            // What is not to be removed yet stays in the full state.
            taken.chain(self.removals.values().flatten().cloned()).collect()
        } else {
            changed.values().cloned().collect()
        };
        let endpoints = endpoints_of(self.kind, changed.values());
        let removed: Vec<Arc<str>> = removed.into_iter().collect();
        let nonce = own_nonce(state, nonces);
        let whole = self.removals.is_empty() && self.refused.is_empty() && !self.in_doubt;
        self.names_from = self.says_names_from(on).filter(|_| whole);
        self.in_doubt = false;
        let version = if whole || on.variant == Variant::Delta {
            self.version(state, on)
        } else {
            response::between_states(state)
        };
        let frame = response::frame(state, on.variant, &version, &entries, &removed, &nonce);
        let sent = if full { changed.into_values().collect() } else { entries };
        self.pend(state, nonce, Entries::Listed(sent), on.now);
        if let Some(pending) = &mut self.pending {
            pending.removed = removed;
            pending.owed = owed;
        }
        Some(Sent { frame, endpoints })
    }

    /// The content of a name that this client may be sent: not what it rejected, but then what it took before.
    fn acceptable(&self, name: &str, state: &TypeState) -> Option<Arc<Entry>> {
        let refused = |entry: &Arc<Entry>| self.refused.get(&entry.name).is_some_and(|v| *v == entry.version);
        let newest = state.get(name)?;
        if !refused(newest) {
            return Some(newest.clone());
        }
        self.base.as_ref()?.get(name).filter(|entry| !refused(entry)).cloned()
    }

    /// One suspect of a rejection by itself, to find the culprit and to let the innocent through.
    fn respond_alone(&mut self, state: &Arc<TypeState>, on: Occasion, nonces: &mut u64) -> Option<Sent> {
        while let Some(name) = self.alone.front().cloned() {
            let suspect = state.get(&name).filter(|entry| self.subscription.wants(&name) && !self.settled(entry));
            let Some(suspect) = suspect.cloned() else {
                self.alone.pop_front();
                continue;
            };
            let nonce = own_nonce(state, nonces);
            let version = match on.variant {
                Variant::Sotw => response::between_states(state),
                Variant::Delta => state.version.clone(),
            };
            let entries = if on.variant == Variant::Sotw && policy::full_state(self.kind) {
                self.proven_with(&suspect, state)
            } else {
                vec![suspect.clone()]
            };
            let frame = response::frame(state, on.variant, &version, &entries, &[], &nonce);
            self.names_from = None;
            let endpoints = endpoints_of(self.kind, [&suspect]);
            self.pend(state, nonce, Entries::Listed(vec![suspect]), on.now);
            if let Some(pending) = &mut self.pending {
                pending.alone = Some(name);
            }
            return Some(Sent { frame, endpoints });
        }
        None
    }

    /// A full state of what the client has, and one suspect.
    fn proven_with(&self, suspect: &Arc<Entry>, state: &TypeState) -> Vec<Arc<Entry>> {
        let base = self.base.iter().flat_map(|base| base.entries());
        let mut entries: BTreeMap<&Arc<str>, &Arc<Entry>> = base.map(|entry| (&entry.name, entry)).collect();
        entries.retain(|name, _| self.subscription.wants(name));
        let taken = self.have.keys().filter_map(|name| state.get(name));
        entries.extend(taken.chain([suspect]).map(|entry| (&entry.name, entry)));
        entries.into_values().cloned().collect()
    }

    /// What a version says of other types: only where a client tells it after it asked for names.
    fn says_names_from(&self, on: Occasion) -> Option<u64> {
        on.names_from.filter(|_| on.variant == Variant::Sotw && !policy::full_state(self.kind))
    }

    /// The version of a response after which the client has all that is there for it.
    fn version(&self, state: &TypeState, on: Occasion) -> String {
        if on.variant == Variant::Delta || policy::full_state(self.kind) {
            return state.version.clone();
        }
        match on.names_from {
            Some(names_from) => {
                let since = self.sent().map(AsRef::as_ref);
                state.version_of(&self.subscription, names_from, since)
            }
            None => response::between_states(state),
        }
    }

    fn pend(&mut self, state: &Arc<TypeState>, nonce: String, entries: Entries, now: Duration) {
        self.last_nonce = nonce;
        let state = state.clone();
        self.pending =
            Some(Pending { state, entries, removed: Vec::new(), owed: BTreeSet::new(), alone: None, sent_at: now });
    }
}

/// A nonce that is the same on all streams, and another one for each type.
fn shared_nonce(state: &TypeState) -> String {
    format!("{}{}", char::from(b'a' + state.kind as u8), state.epoch)
}

/// A nonce for a response that only this stream gets.
fn own_nonce(state: &TypeState, nonces: &mut u64) -> String {
    *nonces += 1;
    format!("{}.{nonces}", state.epoch)
}

fn endpoints_of<'e>(kind: ResourceType, sent: impl IntoIterator<Item = &'e Arc<Entry>>) -> Vec<Arc<str>> {
    if kind != ResourceType::Cluster {
        return Vec::new();
    }
    sent.into_iter().filter_map(|entry| entry.endpoints.clone()).collect()
}
