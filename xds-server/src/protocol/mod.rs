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
mod response;
mod subscription;
#[cfg(test)]
mod tests;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xds_api::ResourceType;

use crate::Error;
use crate::snapshot::Group;
use crate::wire::request::{DeltaRequest, SotwRequest};
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

/// What happened on a stream that others may want to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Acknowledged { kind: ResourceType, nonce: String },
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
}

impl Stream {
    pub(crate) fn new(variant: Variant, only: Option<ResourceType>, group: Arc<Group>, max_names: usize) -> Self {
        Self { variant, only, group, types: Default::default(), nonces: 0, max_names }
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
        Ok(self.entry(kind).sotw(request, &state))
    }

    pub(crate) fn delta(&mut self, request: &DeltaRequest) -> Result<Option<Event>, Error> {
        let Some(kind) = self.kind(&request.type_url)? else { return Ok(None) };
        let state = self.group.state(kind);
        let max_names = self.max_names;
        let entry = self.entry(kind);
        let event = entry.delta(request, &state);
        if entry.subscription.len() > max_names {
            return Err(Error::TooMuch(format!("more than {max_names} names of one type")));
        }
        Ok(event)
    }

    /// The next message for the client, as a gRPC frame; none when it is in step or has to be waited for. `now`
    /// is time since the stream began.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Bytes> {
        for kind in ResourceType::ALL {
            if self.types[kind as usize].is_none() || self.must_wait(kind, now) {
                continue;
            }
            let may_remove = kind != ResourceType::Cluster || self.routes_in_step();
            let state = self.group.state(kind);
            let variant = self.variant;
            let nonces = &mut self.nonces;
            let Some(entry) = &mut self.types[kind as usize] else { continue };
            let Some(sent) = entry.respond(&state, variant, may_remove, now, nonces) else { continue };
            if kind == ResourceType::Cluster {
                self.push_endpoints(&sent.names);
            }
            return Some(sent.frame);
        }
        None
    }

    /// When to ask again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let of = |entry: &TypeStream| {
            let sent = entry.pending.as_ref()?.sent_at;
            let newer = self.group.state(entry.kind).epoch != entry.pending.as_ref()?.state.epoch;
            let impatient = newer.then_some(sent + IMPATIENCE);
            let patient = (entry.kind == ResourceType::Cluster).then_some(sent + CLUSTER_PATIENCE);
            impatient.or(patient)
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
    fn push_endpoints(&mut self, clusters: &[Arc<str>]) {
        if let Some(endpoints) = &mut self.types[ResourceType::Endpoints as usize] {
            endpoints.owe_again(clusters);
        }
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &TypeStream> {
        self.types.iter().flatten().map(AsRef::as_ref)
    }
}
