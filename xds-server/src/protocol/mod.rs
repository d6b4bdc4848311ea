//! The protocol as a state machine: a message or a newer state in, messages out. No sockets, no clock.
//!
//! A stream holds, for each type, the state that its client has ([`TypeStream::base`]), the names it is owed whatever that
//! state says, and at most one response in flight. What to send is always asked anew, so a slow client skips to the newest
//! state and no queue can grow.
//!
//! Order between types (make before break): clusters, endpoints, secrets, extensions, then what may name them, once the
//! clusters are acknowledged; clusters are removed when everything that could name them is in step. Endpoints never wait
//! for the acknowledgement of clusters: a warming cluster withholds it until it has endpoints.

mod policy;
mod respond;
mod response;
mod subscription;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use xds_api::ResourceType;

use self::respond::Occasion;
use crate::Error;
use crate::snapshot::{Group, TypeState};
use crate::wire::request::{DeltaRequest, SotwRequest};
pub(crate) use subscription::{Interned, Subscription};
pub(crate) use typed::TypeStream;

/// How long a response may stay unacknowledged before a newer state is sent over it. A warming cluster withholds the
/// acknowledgement of all clusters.
pub(crate) const IMPATIENCE: Duration = Duration::from_secs(1);
/// How long types wait for clusters to be acknowledged: as long as Envoy itself waits for endpoints.
pub(crate) const CLUSTER_PATIENCE: Duration = Duration::from_secs(16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Sotw,
    Delta,
}

impl Variant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sotw => "sotw",
            Self::Delta => "delta",
        }
    }
}

/// What happened on a stream that others may want to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Acknowledged { kind: ResourceType, waited_since: Duration },
    Rejected { kind: ResourceType, message: String, suspects: Vec<(Arc<str>, String)> },
}

#[derive(Debug)]
pub(crate) struct Stream {
    variant: Variant,
    /// The one type of a per-type method.
    only: Option<ResourceType>,
    group: Arc<Group>,
    types: [Option<Box<TypeStream>>; ResourceType::ALL.len()],
    nonces: u64,
    max_names: usize,
    /// Endpoint sets of clusters that were sent before endpoints were asked for.
    early: Vec<Arc<str>>,
}

impl Stream {
    pub(crate) fn new(variant: Variant, only: Option<ResourceType>, group: Arc<Group>, max_names: usize) -> Self {
        Self { variant, only, group, types: Default::default(), nonces: 0, max_names, early: Vec::new() }
    }

    /// The type of a request; none for a type that is not served, which disturbs nobody.
    fn kind(&self, type_url: &str) -> Result<Option<ResourceType>, Error> {
        match (self.only, type_url) {
            (Some(only), "") => Ok(Some(only)),
            (Some(only), url) if url == only.type_url() => Ok(Some(only)),
            (Some(only), url) => {
                Err(Error::InvalidRequest(format!("this method serves {}, not {url}", only.type_url())))
            }
            (None, "") => Err(Error::InvalidRequest("a request on an aggregated stream must say its type_url".into())),
            (None, url) => Ok(ResourceType::from_type_url(url)),
        }
    }

    fn entry(&mut self, kind: ResourceType) -> &mut TypeStream {
        self.types[kind as usize].get_or_insert_with(|| Box::new(TypeStream::new(kind)))
    }

    pub(crate) fn sotw(&mut self, request: &SotwRequest) -> Result<Option<Event>, Error> {
        let Some(kind) = self.kind(&request.type_url)? else { return Ok(None) };
        if request.names.len() > self.max_names {
            return Err(Error::TooMuch(format!("more than {} names of one type", self.max_names)));
        }
        let state = self.group.state(kind);
        let doubtful = self.group.is_doubtful(kind);
        let group = self.group.clone();
        let event = self.entry(kind).sotw(request, &state, doubtful, &group.interned);
        self.share_names(kind, !request.names.is_empty());
        Ok(self.taken(kind, event))
    }

    pub(crate) fn delta(&mut self, request: &DeltaRequest) -> Result<Option<Event>, Error> {
        let Some(kind) = self.kind(&request.type_url)? else { return Ok(None) };
        let state = self.group.state(kind);
        let max_names = self.max_names;
        let group = self.group.clone();
        let entry = self.entry(kind);
        let event = entry.delta(request, &state, &group.interned);
        if entry.subscription.len() > max_names {
            return Err(Error::TooMuch(format!("more than {max_names} names of one type")));
        }
        self.share_names(kind, !request.subscribe.is_empty() || !request.unsubscribe.is_empty());
        Ok(self.taken(kind, event))
    }

    fn share_names(&mut self, kind: ResourceType, changed: bool) {
        if changed && let Some(entry) = &mut self.types[kind as usize] {
            entry.subscription.share(&mut self.group.interned.lock());
        }
    }

    fn taken(&mut self, kind: ResourceType, event: Option<Event>) -> Option<Event> {
        if kind == ResourceType::Endpoints && !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.entry(kind).owe_again(&early);
        }
        if let Some(Event::Rejected { suspects, .. }) = &event {
            let group = self.group.clone();
            self.entry(kind).try_alone_only(|name| group.is_unproven(kind, name), suspects);
        }
        event
    }

    /// The next message for the client, as a gRPC frame; none when it is in step or has to be waited for. `now`
    /// is time since the stream began.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(ResourceType, Bytes)> {
        if self.variant == Variant::Sotw {
            self.believe_told();
            self.keep_versions_true();
        }
        let may_remove_clusters = self.routes_in_step();
        for kind in ResourceType::ALL {
            let may_remove = kind != ResourceType::Cluster || may_remove_clusters;
            if let Some(frame) = self.next_of(kind, may_remove, now) {
                return Some((kind, frame));
            }
        }
        // Types that had nothing to be sent may have come into step meanwhile.
        if !may_remove_clusters && self.routes_in_step() {
            return Some((ResourceType::Cluster, self.next_of(ResourceType::Cluster, true, now)?));
        }
        None
    }

    fn next_of(&mut self, kind: ResourceType, may_remove: bool, now: Duration) -> Option<Bytes> {
        if self.types[kind as usize].is_none() || self.must_wait(kind, now) || self.waits_for_doubted(kind) {
            return None;
        }
        let state = self.group.state(kind);
        let names_from = self.names_from(kind);
        let on = Occasion { variant: self.variant, may_remove, names_from, now };
        let sent = self.types[kind as usize].as_mut()?.respond(&state, on, &mut self.nonces)?;
        if kind == ResourceType::Cluster {
            self.push_endpoints(sent.endpoints);
        }
        Some(sent.frame)
    }

    /// What made the client ask for names of a type: a sum over what it was sent of other types. None where that cannot be
    /// said, for they come on other streams, or not as they are.
    ///
    /// A SotW client that reconnects tells names and the version that it took last. That proves that it has them, unless it had
    /// forgotten a name and asked for it anew when the stream broke. Envoy does that only when something else changes that names
    /// it, so this sum is part of the version.
    fn names_from(&self, kind: ResourceType) -> Option<u64> {
        if self.variant == Variant::Delta || self.only.is_some() {
            return None;
        }
        let mut sum = 0;
        for other in self.types().filter(|other| other.kind != kind) {
            let Some(state) = other.sent() else { continue };
            let naming = state.naming(kind);
            if naming != 0 && !other.is_whole() {
                return None;
            }
            sum ^= sum_of(state, other.kind, kind);
        }
        Some(sum)
    }

    /// Versions that were told with names are believed where all that could name them was told, too, and is in step.
    fn believe_told(&mut self) {
        for kind in policy::NAMED {
            if !self.types[kind as usize].as_ref().is_some_and(|entry| entry.tells()) {
                continue;
            }
            let names_from = self.told_names_from(kind);
            let state = self.group.state(kind);
            if let Some(entry) = &mut self.types[kind as usize] {
                entry.believe_told(&state, names_from);
            }
        }
    }

    fn told_names_from(&self, kind: ResourceType) -> Option<u64> {
        let asked = |other: ResourceType| self.types[other as usize].is_some() || !policy::may_name(other, kind);
        if self.only.is_some() || !policy::ALWAYS.into_iter().all(asked) {
            return None;
        }
        let named_by = self.types().filter(|other| policy::may_name(other.kind, kind));
        named_by.map(|other| Some(sum_of(other.told_state()?, other.kind, kind))).try_fold(0, |sum, of| Some(sum ^ of?))
    }

    /// What comes back to what it was would make a version true that the client still tells, though it may have forgotten names
    /// in between. Then these are sent first, under another version.
    fn keep_versions_true(&mut self) {
        let mut doubted = Vec::new();
        for entry in self.types().filter(|entry| entry.names_from.is_some()) {
            let now = self.names_from(entry.kind);
            if now == entry.names_from {
                continue;
            }
            // Any of the others may be next.
            let mut sums = BTreeSet::from([0]);
            for other in self.types().filter(|other| other.kind != entry.kind) {
                let of = |state: &TypeState| sum_of(state, other.kind, entry.kind);
                let (sent, newest) = (other.sent().map_or(0, |state| of(state)), of(&self.group.state(other.kind)));
                sums = sums.iter().flat_map(|sum| [sum ^ sent, sum ^ newest]).collect();
            }
            if entry.names_from.is_some_and(|told| sums.contains(&told)) {
                doubted.push(entry.kind);
            }
        }
        for kind in doubted {
            if let Some(entry) = &mut self.types[kind as usize] {
                entry.doubt();
            }
        }
    }

    /// Whether something that names a type has to wait until that has been sent.
    fn waits_for_doubted(&self, kind: ResourceType) -> bool {
        let names = |named: ResourceType| {
            let newest = self.group.state(kind).naming(named);
            let sent = self.types[kind as usize].as_ref().and_then(|entry| entry.sent().cloned());
            sent.is_some_and(|sent| sent.naming(named) != newest)
        };
        self.types().any(|entry| entry.in_doubt && entry.kind != kind && names(entry.kind))
    }

    /// When to ask again although nothing happened.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        let of = |entry: &TypeStream| {
            let pending = entry.pending.as_ref()?;
            let patience = (entry.kind == ResourceType::Cluster).then_some(pending.sent_at + CLUSTER_PATIENCE);
            let impatience = entry.impatient_at(&self.group.state(entry.kind));
            [impatience, patience].into_iter().flatten().filter(|at| *at > now).min()
        };
        self.types.iter().flatten().filter_map(|entry| of(entry)).min()
    }

    fn must_wait(&self, kind: ResourceType, now: Duration) -> bool {
        if !policy::waits_for_clusters(kind) {
            return false;
        }
        let Some(clusters) = &self.types[ResourceType::Cluster as usize] else { return false };
        match &clusters.pending {
            Some(pending) => now < pending.sent_at + CLUSTER_PATIENCE,
            // Clusters that were never sent, or are to be sent, come first.
            None => clusters.has_additions(&self.group.state(ResourceType::Cluster)),
        }
    }

    fn routes_in_step(&self) -> bool {
        policy::NAMES_CLUSTERS.into_iter().all(|kind| match &self.types[kind as usize] {
            Some(entry) => entry.in_step(&self.group.state(kind)),
            None => true,
        })
    }

    /// A changed cluster starts anew without endpoints and, in Delta, does not ask for them.
    fn push_endpoints(&mut self, names: Vec<Arc<str>>) {
        match &mut self.types[ResourceType::Endpoints as usize] {
            Some(endpoints) if endpoints.begun() => endpoints.owe_again(&names),
            _ => self.early.extend(names),
        }
    }

    /// Tells the group what a client made of a response. True when content was set aside for the group.
    pub(crate) fn settle(&self, event: &Event, wall: SystemTime) -> bool {
        match event {
            Event::Acknowledged { kind, .. } => {
                if let Some(entry) = &self.types[*kind as usize]
                    && let Some(base) = &entry.base
                {
                    self.group.acknowledged(base, &entry.refused, wall);
                }
                false
            }
            Event::Rejected { kind, message, suspects } => {
                self.group.doubt(*kind);
                match suspects.as_slice() {
                    [(name, version)] => self.group.set_aside(*kind, name, version, message, wall),
                    _ => false,
                }
            }
        }
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &TypeStream> {
        self.types.iter().flatten().map(AsRef::as_ref)
    }
}

/// A type's part of what made a client ask for names of another.
fn sum_of(state: &TypeState, kind: ResourceType, named: ResourceType) -> u64 {
    state.naming(named).rotate_left(kind as u32)
}
