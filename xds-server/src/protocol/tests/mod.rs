//! The rules that a server of this protocol has to keep, each as a conversation.
//!
//! Names begin with the rule: P methods and nodes, N nonces, V versions, A acknowledgements, S subscriptions, R SotW
//! responses, D Delta responses, O order; `trap` with a number is a fault that real servers had.

mod delta;
mod model;
mod order;
mod rejections;
mod sotw;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::cluster::v3::cluster::EdsClusterConfig;
use xds_api::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use xds_api::google::rpc::Status;
use xds_api::{Resource, ResourceType};

use super::{Event, Stream, Variant};
use crate::snapshot::{Apart, Change, Group};
use crate::wire::request::{DeltaRequest, SotwRequest, Versions};
use crate::{Error, GroupKey};

pub(super) const CDS: ResourceType = ResourceType::Cluster;
pub(super) const EDS: ResourceType = ResourceType::Endpoints;
pub(super) const LDS: ResourceType = ResourceType::Listener;
pub(super) const RDS: ResourceType = ResourceType::RouteConfiguration;
pub(super) const SDS: ResourceType = ResourceType::Secret;
pub(super) const SRDS: ResourceType = ResourceType::ScopedRoute;
pub(super) const RLS: ResourceType = ResourceType::RateLimitConfig;

/// A response, whichever variant it came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub kind: ResourceType,
    /// Name (Delta only) and content.
    pub resources: Vec<(String, String)>,
    pub versions: Vec<String>,
    pub removed: Vec<String>,
    pub nonce: String,
    pub version: String,
}

impl Reply {
    pub(super) fn contents(&self) -> Vec<&str> {
        self.resources.iter().map(|(_, content)| content.as_str()).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// A server's side of one stream, and the group behind it.
pub(super) struct Rig {
    pub group: Arc<Group>,
    pub stream: Stream,
    pub variant: Variant,
    pub now: Duration,
}

impl Rig {
    pub(super) fn new(variant: Variant) -> Self {
        Self::of(variant, Arc::new(Group::new(GroupKey::new("default/web"), Apart::default())))
    }

    /// Another stream of the same group.
    pub(super) fn of(variant: Variant, group: Arc<Group>) -> Self {
        let stream = Stream::new(variant, None, group.clone(), 1000);
        Self { group, stream, variant, now: Duration::ZERO }
    }

    pub(super) fn set(&self, resources: &[(ResourceType, &str, &str)]) {
        let set = resources.iter().map(|(kind, name, content)| resource(*kind, name, content)).collect();
        self.group.publish(Change { set, remove: Vec::new() }, SystemTime::UNIX_EPOCH);
    }

    pub(super) fn remove(&self, kind: ResourceType, name: &str) {
        let remove = vec![(kind, Arc::from(name))];
        self.group.publish(Change { set: Vec::new(), remove }, SystemTime::UNIX_EPOCH);
    }

    fn settle(&self, event: Result<Option<Event>, Error>) -> Option<Event> {
        let event = event.unwrap();
        if let Some(event) = &event {
            self.stream.settle(event, SystemTime::UNIX_EPOCH);
        }
        event
    }

    pub(super) fn delta(&mut self, kind: ResourceType, edit: impl FnOnce(&mut DeltaRequest)) -> Option<Event> {
        let mut request = DeltaRequest { type_url: kind.type_url().into(), ..Default::default() };
        edit(&mut request);
        let event = self.stream.delta(&request);
        self.settle(event)
    }

    pub(super) fn subscribe(&mut self, kind: ResourceType, names: &[&str]) {
        self.delta(kind, |request| request.subscribe = strings(names).into());
    }

    pub(super) fn unsubscribe(&mut self, kind: ResourceType, names: &[&str]) {
        self.delta(kind, |request| request.unsubscribe = strings(names));
    }

    pub(super) fn sotw(&mut self, kind: ResourceType, names: &[&str], nonce: &str) -> Option<Event> {
        self.sotw_with(kind, names, nonce, "", None)
    }

    pub(super) fn sotw_with(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        nonce: &str,
        version: &str,
        error: Option<&str>,
    ) -> Option<Event> {
        let request = SotwRequest {
            type_url: kind.type_url().into(),
            names: strings(names),
            nonce: nonce.into(),
            version: version.into(),
            error: error.map(status),
            node: None,
        };
        let event = self.stream.sotw(&request);
        self.settle(event)
    }

    /// Takes a response, as a client does that likes it.
    pub(super) fn ack(&mut self, reply: &Reply, names: &[&str]) {
        match self.variant {
            Variant::Delta => drop(self.delta(reply.kind, |request| request.nonce.clone_from(&reply.nonce))),
            Variant::Sotw => drop(self.sotw_with(reply.kind, names, &reply.nonce, &reply.version, None)),
        }
    }

    pub(super) fn nack(&mut self, reply: &Reply, names: &[&str], message: &str) -> Option<Event> {
        match self.variant {
            Variant::Delta => self.delta(reply.kind, |request| {
                request.nonce.clone_from(&reply.nonce);
                request.error = Some(status(message));
            }),
            Variant::Sotw => self.sotw_with(reply.kind, names, &reply.nonce, "", Some(message)),
        }
    }

    pub(super) fn next(&mut self) -> Option<Reply> {
        let (kind, frame) = self.stream.next(self.now)?;
        let reply = decode(self.variant, &frame);
        assert_eq!(reply.kind, kind);
        assert!(!reply.nonce.is_empty());
        Some(reply)
    }

    /// The next response, which must be there and of a type.
    pub(super) fn expect(&mut self, kind: ResourceType) -> Reply {
        let reply = self.next().unwrap_or_else(|| panic!("a response with {kind:?}"));
        assert_eq!(reply.kind, kind, "{reply:?}");
        reply
    }

    pub(super) fn expect_and_ack(&mut self, kind: ResourceType, names: &[&str]) -> Reply {
        let reply = self.expect(kind);
        self.ack(&reply, names);
        reply
    }

    #[track_caller]
    pub(super) fn quiet(&mut self) {
        let next = self.next();
        assert!(next.is_none(), "nothing is to be sent, and yet: {next:?}");
    }
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn status(message: &str) -> Status {
    Status { code: 13, message: message.into(), ..Default::default() }
}

/// A resource that says its name and a content. Clusters take their endpoints from the set of their name.
pub(super) fn resource(kind: ResourceType, name: &str, content: &str) -> Resource {
    let text = format!("{name}={content}");
    if kind == CDS {
        let eds_cluster_config = Some(EdsClusterConfig::default());
        return Resource::encode(
            kind,
            name,
            &Cluster { name: name.into(), alt_stat_name: text, eds_cluster_config, ..Default::default() },
        );
    }
    Resource { kind, name: Arc::from(name), body: Bytes::from(text.into_bytes()) }
}

fn content(kind: ResourceType, body: &[u8]) -> String {
    if kind == CDS {
        return Cluster::decode(body).unwrap().alt_stat_name;
    }
    String::from_utf8(body.to_vec()).unwrap()
}

fn decode(variant: Variant, frame: &[u8]) -> Reply {
    assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
    let message = &frame[5..];
    if variant == Variant::Delta {
        let response = DeltaDiscoveryResponse::decode(message).unwrap();
        let kind = ResourceType::from_type_url(&response.type_url).unwrap();
        let mut resources = Vec::new();
        let mut versions = Vec::new();
        for resource in response.resources {
            let any = resource.resource.unwrap();
            assert_eq!(any.type_url, response.type_url);
            assert!(!resource.version.is_empty());
            versions.push(resource.version);
            resources.push((resource.name, content(kind, &any.value)));
        }
        assert_unique(&resources, &response.removed_resources);
        let (nonce, version) = (response.nonce, response.system_version_info);
        return Reply { kind, resources, versions, removed: response.removed_resources, nonce, version };
    }
    let response = DiscoveryResponse::decode(message).unwrap();
    let kind = ResourceType::from_type_url(&response.type_url).unwrap();
    let texts = response.resources.iter().map(|any| {
        assert_eq!(any.type_url, response.type_url);
        content(kind, &any.value)
    });
    let resources: Vec<_> = texts.map(|text| (text.split_once('=').unwrap_or_default().0.to_owned(), text)).collect();
    assert_unique(&resources, &[]);
    let (nonce, version) = (response.nonce, response.version_info);
    Reply { kind, resources, versions: Vec::new(), removed: Vec::new(), nonce, version }
}

/// A client rejects a response that says a name twice.
fn assert_unique(resources: &[(String, String)], removed: &[String]) {
    let names: Vec<&String> = resources.iter().map(|(name, _)| name).chain(removed).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len(), "r3 and d2: {names:?}");
}
