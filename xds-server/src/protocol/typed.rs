//! One type on one stream: what its client asked for, has, and made of what it was sent.
//!
//! [`super::respond`] decides what to send next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use xds_api::ResourceType;
use xds_api::google::rpc::Status;

use super::subscription::{Interned, Subscription};
use super::{Event, Variant, policy};
use crate::snapshot::{Entry, Sum, TypeState, told};
use crate::wire::request::{DeltaRequest, Names, SotwRequest, Versions};

#[derive(Debug)]
pub(crate) struct TypeStream {
    pub kind: ResourceType,
    pub subscription: Subscription,
    /// The state that the client has acknowledged. The maps and sets below say where it deviates from that.
    pub base: Option<Arc<TypeState>>,
    /// Names to be sent whatever the base says.
    pub(super) owed: BTreeSet<Arc<str>>,
    /// Versions that the client has beyond the base.
    pub(super) have: BTreeMap<Arc<str>, String>,
    /// Versions that the client rejected: it is never sent them again.
    pub refused: BTreeMap<Arc<str>, String>,
    /// Removals that wait for their time, with what is to be removed where it is known.
    pub(super) removals: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
    /// Suspects of a rejection that named nobody: each is sent alone.
    pub(super) alone: VecDeque<Arc<str>>,
    /// An answer is due, even an empty one.
    pub(super) answer_due: bool,
    begun: bool,
    /// The version that the client told in its first request, until it is known what to make of it.
    told: Option<String>,
    /// With the version that the client was sent last: what made it ask for its names.
    pub(super) names_from: Option<u64>,
    /// The client is to be sent everything under a version that nobody has, before it can forget a name and ask for it anew.
    pub(super) in_doubt: bool,
    pub pending: Option<Pending>,
    pub(super) last_nonce: String,
    pub last_error: Option<String>,
}

/// A response that is neither acknowledged nor rejected yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub state: Arc<TypeState>,
    pub(super) entries: Entries,
    pub(super) removed: Vec<Arc<str>>,
    /// Names of which the client may hold nothing: it had asked for them, or asked again.
    pub(super) owed: BTreeSet<Arc<str>>,
    /// One suspect, by itself.
    pub(super) alone: Option<Arc<str>>,
    pub sent_at: Duration,
}

/// What was in a response, for when it is rejected.
#[derive(Debug)]
pub(super) enum Entries {
    /// Everything between two states that the subscription wants: shared by many, so not listed.
    Since(Arc<TypeState>),
    /// Everything of a state that the subscription wants.
    All,
    Listed(Vec<Arc<Entry>>),
}

impl TypeStream {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            subscription: Subscription::default(),
            base: None,
            owed: BTreeSet::new(),
            have: BTreeMap::new(),
            refused: BTreeMap::new(),
            removals: BTreeMap::new(),
            alone: VecDeque::new(),
            answer_due: false,
            begun: false,
            told: None,
            names_from: None,
            in_doubt: false,
            pending: None,
            last_nonce: String::new(),
            last_error: None,
        }
    }

    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// `doubtful`: some client of the group rejected something of this type, and may hold parts of it.
    pub(super) fn sotw(
        &mut self,
        request: &SotwRequest,
        state: &Arc<TypeState>,
        doubtful: bool,
        interned: &Mutex<Interned>,
    ) -> Option<Event> {
        let first = !std::mem::replace(&mut self.begun, true);
        self.told = Some(request.version.clone())
            .filter(|told| first && !doubtful && !told.is_empty() && policy::NAMED.contains(&self.kind));
        if first && self.subscription.begin_as(request.names.iter().map(String::as_bytes), interned) {
            self.answer_due = true;
            return None;
        }
        let replaced = self.subscription.replace(&request.names, policy::legacy_wildcard(self.kind));
        if first {
            // A nonce of another stream means nothing here; a version of names is looked at when all types have been asked for.
            let in_step = self.subscription.wildcard
                && policy::told_version_is_taken(self.kind)
                && request.version == state.version
                && !doubtful;
            if in_step {
                self.base = Some(state.clone());
            } else {
                self.answer_due = true;
            }
            return None;
        }
        let full = policy::full_state(self.kind);
        self.answer_due |= full && replaced.any();
        self.owed.extend(replaced.added.iter().cloned());
        if self.last_nonce.is_empty() || request.nonce != self.last_nonce {
            // Stale: its names count, but it acknowledges nothing.
            return None;
        }
        match (&request.error, self.pending.take()) {
            (Some(error), Some(pending)) => Some(self.reject(error, pending, Variant::Sotw)),
            (None, Some(pending)) => Some(self.acknowledge(pending)),
            (None, None) if !replaced.any() => {
                // The settled nonce again: the client asks anew, since a parent of these was updated.
                if full {
                    self.answer_due = true;
                } else {
                    self.owed.extend(self.subscription.names().cloned());
                }
                None
            }
            _ => None,
        }
    }

    /// Looks at the version that a reconnecting client told of the names it asks for.
    pub(super) fn believe_told(&mut self, state: &Arc<TypeState>, names_from: Option<u64>) {
        let Some(told) = self.told.take() else { return };
        if names_from.is_some_and(|names_from| state.version_of(&self.subscription, names_from, None) == told) {
            self.base = Some(state.clone());
            self.names_from = names_from;
            self.answer_due = false;
        }
    }

    pub(super) fn tells(&self) -> bool {
        self.told.is_some()
    }

    /// The state that the client told to have, if nothing was sent since.
    pub(super) fn told_state(&self) -> Option<&Arc<TypeState>> {
        self.base.as_ref().filter(|_| self.last_nonce.is_empty())
    }

    /// The newest state that the client was sent; it has it, or will have it before whatever is sent next.
    pub(super) fn sent(&self) -> Option<&Arc<TypeState>> {
        self.pending.as_ref().map(|pending| &pending.state).or(self.base.as_ref())
    }

    /// Whether the client has, or was sent, the whole of that state.
    pub(super) fn is_whole(&self) -> bool {
        let alone = self.pending.as_ref().is_some_and(|pending| pending.alone.is_some());
        self.refused.is_empty() && self.removals.is_empty() && self.alone.is_empty() && self.have.is_empty() && !alone
    }

    /// Everything is owed again, under a version that nobody has.
    pub(super) fn doubt(&mut self) {
        self.in_doubt = true;
        self.names_from = None;
        self.owed.extend(self.subscription.names().cloned());
    }

    pub(super) fn delta(
        &mut self,
        request: &DeltaRequest,
        state: &Arc<TypeState>,
        interned: &Mutex<Interned>,
    ) -> Option<Event> {
        let first = !std::mem::replace(&mut self.begun, true);
        if first && policy::legacy_wildcard(self.kind) {
            self.subscription.start_delta(!request.subscribe.is_empty(), !request.unsubscribe.is_empty());
        }
        // Before that, everything subscribed is sent anyway.
        let answered = self.base.is_some() || self.pending.is_some();
        let known = first && self.subscription.begin_as(request.subscribe.bytes(), interned);
        for name in Some(&request.subscribe).filter(|_| !known).into_iter().flat_map(Names::iter) {
            let name: Arc<str> = Arc::from(name);
            if answered && &*name == "*" {
                self.owed.extend(state.entries().map(|entry| entry.name.clone()));
                self.answer_due = true;
            } else if answered {
                // Asking again for a known name means that the client has forgotten it.
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
            self.answer_due = !self.subscription.is_empty();
            if !request.versions.is_empty() {
                self.resume(&request.versions, state);
            }
            return None;
        }
        if request.nonce.is_empty() || request.nonce != self.last_nonce {
            return None;
        }
        match (&request.error, self.pending.take()) {
            (Some(error), Some(pending)) => Some(self.reject(error, pending, Variant::Delta)),
            (None, Some(pending)) => Some(self.acknowledge(pending)),
            (_, None) => None,
        }
    }

    /// A reconnecting client says what it has: only what differs is owed.
    fn resume(&mut self, versions: &Versions, state: &Arc<TypeState>) {
        let add = |sum: Sum, (name, version)| sum.with(told(name, version));
        let has = versions.bytes().fold(Sum::default(), add);
        let all = if self.subscription.wildcard { Some(state.sum()) } else { state.sum_of(&self.subscription) };
        if all == Some(has) {
            self.base = Some(state.clone());
            return;
        }
        let tells_gone = policy::sends_removals(self.kind) || policy::answers_missing(self.kind);
        let mut known = 0;
        for (name, version) in versions.iter() {
            if !self.subscription.wants(name) {
                continue;
            }
            match state.get(name) {
                Some(entry) => {
                    known += 1;
                    if entry.version != version {
                        self.owed.insert(entry.name.clone());
                    }
                }
                None if tells_gone => drop(self.removals.insert(Arc::from(name), None)),
                None => {}
            }
        }
        let wanted = if self.subscription.wildcard { state.len() } else { self.subscription.len() };
        if known < wanted {
            let has: BTreeSet<&str> = versions.iter().map(|(name, _)| name).collect();
            if self.subscription.wildcard {
                let missing = state.entries().filter(|entry| !has.contains(&*entry.name));
                self.owed.extend(missing.map(|entry| entry.name.clone()));
            }
            let missing = self.subscription.names().filter(|name| !has.contains(&***name));
            self.owed.extend(missing.cloned());
        }
        self.base = Some(state.clone());
    }

    fn acknowledge(&mut self, pending: Pending) -> Event {
        if let Some(name) = &pending.alone {
            self.alone.retain(|suspect| suspect != name);
            self.owed.remove(name);
            if let Entries::Listed(entries) = &pending.entries {
                let version = entries.iter().find(|entry| entry.name == *name).map(|entry| entry.version.clone());
                self.have.extend(version.map(|version| (name.clone(), version)));
            }
        } else {
            self.base = Some(pending.state);
            self.have.clear();
            if self.refused.is_empty() {
                self.last_error = None;
            }
        }
        Event::Acknowledged { kind: self.kind, waited_since: pending.sent_at }
    }

    /// What was rejected is never sent to this client again. When the message names the culprit, or there was only one
    /// resource, the others are sent again without it; else each is tried alone.
    fn reject(&mut self, error: &Status, pending: Pending, variant: Variant) -> Event {
        let entries = self.entries_of(&pending);
        let suspects: Vec<Arc<Entry>> = match &pending.alone {
            Some(alone) => {
                self.alone.retain(|suspect| suspect != alone);
                entries.iter().filter(|entry| entry.name == *alone).cloned().collect()
            }
            None => suspects(&error.message, &entries),
        };
        let culprit = |name: &str| suspects.iter().any(|entry| &*entry.name == name);
        // A client of which nothing is known keeps what it has: leaving names out of a full state would delete them.
        let blind = variant == Variant::Sotw && policy::good_parts_taken(self.kind) && self.base.is_none();
        if suspects.len() == 1 || blind {
            self.refused.extend(suspects.iter().map(|entry| (entry.name.clone(), entry.version.clone())));
        } else {
            self.alone = suspects.iter().map(|entry| entry.name.clone()).collect();
        }
        if !suspects.is_empty() {
            // Without the newest content the client is still owed what was good before.
            self.owed.extend(pending.owed);
        }
        if pending.alone.is_none() {
            let mut others = entries.iter().filter(|entry| !culprit(&entry.name));
            if variant == Variant::Sotw && policy::full_state(self.kind) {
                self.answer_due |= !blind && others.next().is_some();
            } else {
                self.owed.extend(others.map(|entry| entry.name.clone()));
            }
            if suspects.is_empty() || blind {
                // Nothing but removals, which a client that will not have them is asked no more; or all that was good.
                self.base = Some(pending.state);
            } else {
                self.removals.extend(pending.removed.into_iter().map(|name| (name, None)));
            }
        }
        self.last_error = Some(error.message.clone());
        let suspects = suspects.iter().map(|entry| (entry.name.clone(), entry.version.clone())).collect();
        Event::Rejected { kind: self.kind, message: error.message.clone(), suspects }
    }

    /// Only those suspects are tried alone of which nobody knows yet whether they are good.
    pub(super) fn try_alone_only(&mut self, unproven: impl Fn(&str) -> bool, suspects: &[(Arc<str>, String)]) {
        self.alone.retain(|name| unproven(name));
        if suspects.len() > 1 {
            let cleared = suspects.iter().filter(|(name, _)| !unproven(name));
            self.refused.extend(cleared.cloned());
        }
    }

    pub(super) fn entries_of(&self, pending: &Pending) -> Vec<Arc<Entry>> {
        match &pending.entries {
            Entries::Listed(entries) => entries.clone(),
            Entries::Since(base) => self.between(Some(base), &pending.state),
            Entries::All => self.between(None, &pending.state),
        }
    }

    /// What lies between two states for this subscription.
    pub(super) fn between(&self, base: Option<&TypeState>, state: &TypeState) -> Vec<Arc<Entry>> {
        match base {
            Some(base) => {
                let changed = &state.since(base).changed;
                changed.iter().filter(|entry| self.subscription.wants(&entry.name)).cloned().collect()
            }
            None if self.subscription.wildcard => state.entries().cloned().collect(),
            None => self.subscription.names().filter_map(|name| state.get(name)).cloned().collect(),
        }
    }

    /// Whether the client took, or refused, exactly this content.
    pub(super) fn settled(&self, entry: &Entry) -> bool {
        let same = |version: &String| *version == entry.version;
        self.have.get(&entry.name).is_some_and(same) || self.refused.get(&entry.name).is_some_and(same)
    }

    /// Whether the client has, or is known not to take, everything that the state has for it.
    pub(super) fn in_step(&self, state: &TypeState) -> bool {
        if self.subscription.is_empty() {
            return true;
        }
        let quiet = self.pending.is_none() && self.owed.is_empty() && self.alone.is_empty();
        quiet && self.base.as_ref().is_some_and(|base| !self.differs(base, state))
    }

    /// Whether the client refused something that the state has.
    pub(crate) fn refuses(&self, state: &TypeState) -> bool {
        self.refused.iter().any(|(name, version)| state.get(name).is_some_and(|entry| entry.version == *version))
    }

    pub(super) fn differs(&self, base: &TypeState, state: &TypeState) -> bool {
        if base.epoch == state.epoch {
            return false;
        }
        let difference = state.since(base);
        let wanted = |entry: &Arc<Entry>| self.subscription.wants(&entry.name) && !self.settled(entry);
        difference.changed.iter().any(wanted)
            || policy::sends_removals(self.kind) && difference.removed.iter().any(|name| self.holds(base, name))
    }

    /// Whether the client got a name with a state: it wanted it and did not refuse it.
    pub(super) fn holds(&self, base: &TypeState, name: &str) -> bool {
        let refused = |entry: &Arc<Entry>| self.refused.get(&entry.name).is_some_and(|v| *v == entry.version);
        self.subscription.wants(name) && !base.get(name).is_some_and(refused)
    }

    /// Whether there is something for the client that it does not have yet.
    pub(super) fn has_additions(&self, state: &TypeState) -> bool {
        if self.subscription.is_empty() {
            return false;
        }
        match &self.base {
            None => self.answer_due || !self.alone.is_empty(),
            Some(base) if base.epoch == state.epoch => false,
            Some(base) => {
                let wanted = |entry: &Arc<Entry>| self.subscription.wants(&entry.name) && !self.settled(entry);
                state.since(base).changed.iter().any(wanted)
            }
        }
    }

    pub(super) fn owe_again(&mut self, names: &[Arc<str>]) {
        if self.base.is_some() || self.pending.is_some() {
            self.owed.extend(names.iter().filter(|name| self.subscription.wants(name)).cloned());
        }
    }
}

/// The entries that an error message speaks of, or all.
fn suspects(message: &str, entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let named: Vec<Arc<Entry>> = entries.iter().filter(|entry| names(message, &entry.name)).cloned().collect();
    if named.is_empty() { entries.to_vec() } else { named }
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
