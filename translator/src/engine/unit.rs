//! Units: what is made anew as a whole.
//!
//! The table below is the whole plan of a translation: each unit has a stage, reads only objects, references and what
//! units of earlier stages made, and asks for units of later stages. A unit exists while something asks for it, or while
//! the object it is rooted in exists.

use std::fmt;

use kinds::{Kind, ObjectId};
use smol_str::SmolStr;

use crate::ai::ModelKey;
use crate::names::{Authority, Chain, ClusterId, GuardId, GuardSort, HcmId, ListenerId, SecretId, Shard};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum UnitId {
    /// A Gateway's listeners, with conflicts and certificates decided.
    Plan(ObjectId),
    /// One of them: what a route reads, so that it does not run again for another's sake.
    Listener(ListenerId),
    /// What runs a Gateway's Envoys.
    Deployment(ObjectId),
    /// Where a route attaches: its parents, each with a verdict.
    Parents(ObjectId),
    /// What a policy is about.
    Targets(ObjectId),
    /// The policies about an object.
    Policies(ObjectId),
    /// The policies in force for each rule of a route, as one listener serves it.
    Effective(ObjectId, ListenerId),
    /// What a SecurityPolicy, or a merge of two, asks of routes.
    Security(ObjectId, Chain),
    /// What a BackendTrafficPolicy, or a merge of two, asks of routes and clusters.
    Traffic(Chain),
    /// Where a policy gives way to another.
    Overridden(ObjectId),
    /// Credentials, stored once for all the routes that they guard.
    Guard(ObjectId, GuardId),
    /// One of the filters that hold the guards of a Gateway.
    Guards(ObjectId, GuardSort),
    /// That some route of a Gateway has orders for a filter.
    FilterUse(ObjectId, &'static str),
    /// The content of a filter that is there only where it is used.
    Filter(ObjectId, &'static str),
    /// A cluster for a server that is known by its address alone.
    External(ObjectId, Authority),
    /// How many routes a listener has.
    AttachedRoutes(ListenerId),
    /// A route's rules as one listener serves them.
    Attached(ObjectId, ListenerId),
    /// What the AI routes of a host have in common.
    AiHost(HcmId, SmolStr),
    /// The models of a host, as they are listed.
    AiList(HcmId, SmolStr),
    /// One of a host's tables of models.
    ModelTable(HcmId, SmolStr, ModelKey),
    /// The scope that leads to it.
    ModelScope(HcmId, SmolStr, ModelKey),
    /// A route table of a listener: one small piece.
    Table(HcmId, Shard),
    /// The scope that leads a hostname to its table.
    Scope(HcmId, SmolStr),
    /// The policies that patch a Gateway's resources.
    Patches(ObjectId),
    /// A resource that a policy adds, by its place among the policy's patches.
    Added(ObjectId, ObjectId, usize),
    /// An Envoy listener: everything of a Gateway on one port.
    Port(ObjectId, PortId),
    /// A cluster, as one Gateway's Envoys see it.
    Cluster(ObjectId, ClusterId),
    Endpoints(ObjectId, ClusterId),
    Secret(ObjectId, SecretId),
    /// The cluster of the rate limit service, as one Gateway's Envoys see it.
    LimitService(ObjectId),
    /// What the rate limit service is told: the limits of all Gateways.
    LimitDomain,
    /// What is said to the author of an object.
    Status(ObjectId),
}

/// A port is one for each transport: TCP and UDP do not conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortId {
    pub number: u16,
    pub udp: bool,
}

impl UnitId {
    /// The order of evaluation: a unit reads only what earlier stages made.
    pub(crate) fn stage(&self) -> usize {
        match self {
            Self::Plan(_) | Self::Targets(_) => 0,
            Self::Listener(_) | Self::Parents(_) | Self::Policies(_) | Self::Patches(_) | Self::Deployment(_) => 1,
            Self::Effective(..) => 2,
            Self::Security(..) | Self::Traffic(_) | Self::Overridden(_) => 3,
            Self::AttachedRoutes(_) | Self::Attached(..) => 4,
            Self::AiHost(..) | Self::AiList(..) => 5,
            Self::Table(..)
            | Self::Scope(..)
            | Self::ModelTable(..)
            | Self::ModelScope(..)
            | Self::Port(..)
            | Self::Guard(..) => 6,
            Self::Guards(..) | Self::Cluster(..) | Self::External(..) | Self::LimitService(_) | Self::LimitDomain => 7,
            Self::Endpoints(..) | Self::Secret(..) | Self::Added(..) | Self::FilterUse(..) => 8,
            Self::Filter(..) | Self::Status(_) => 9,
        }
    }

    pub(crate) const STAGES: usize = 10;

    /// The group of Envoys that a unit's resource is for.
    pub(crate) fn gateway(&self) -> Option<&ObjectId> {
        match self {
            Self::Table(hcm, _) | Self::Scope(hcm, _) | Self::ModelTable(hcm, ..) | Self::ModelScope(hcm, ..) => {
                Some(&hcm.gateway)
            }
            Self::Port(gateway, _)
            | Self::Cluster(gateway, _)
            | Self::Endpoints(gateway, _)
            | Self::Added(gateway, ..)
            | Self::Guards(gateway, _)
            | Self::Filter(gateway, _)
            | Self::External(gateway, _)
            | Self::LimitService(gateway)
            | Self::Secret(gateway, _) => Some(gateway),
            Self::Plan(_)
            | Self::Listener(_)
            | Self::Deployment(_)
            | Self::Parents(_)
            | Self::Targets(_)
            | Self::Policies(_)
            | Self::Effective(..)
            | Self::Security(..)
            | Self::Traffic(_)
            | Self::Overridden(_)
            | Self::Guard(..)
            | Self::FilterUse(..)
            | Self::AttachedRoutes(_)
            | Self::Attached(..)
            | Self::AiHost(..)
            | Self::AiList(..)
            | Self::Patches(_)
            | Self::LimitDomain
            | Self::Status(_) => None,
        }
    }
}

/// The units that an object's mere existence asks for.
pub(crate) fn rooted_in(id: &ObjectId) -> Vec<UnitId> {
    match id.kind {
        Kind::Gateway => vec![UnitId::Plan(id.clone()), UnitId::Deployment(id.clone()), UnitId::Status(id.clone())],
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute | Kind::AiGatewayRoute => {
            vec![UnitId::Parents(id.clone()), UnitId::Status(id.clone())]
        }
        Kind::GatewayClass | Kind::ListenerSet | Kind::BackendTlsPolicy | Kind::Backend => {
            vec![UnitId::Status(id.clone())]
        }
        Kind::SecurityPolicy | Kind::BackendTrafficPolicy | Kind::ClientTrafficPolicy => {
            vec![UnitId::Targets(id.clone()), UnitId::Status(id.clone())]
        }
        Kind::EnvoyProxy
        | Kind::AiServiceBackend
        | Kind::BackendSecurityPolicy
        | Kind::InferencePool
        | Kind::GatewayConfig
        | Kind::KgatewayBackend
        | Kind::GatewayParameters
        | Kind::InferenceService
        | Kind::EnvoyPatchPolicy
        | Kind::QuotaPolicy
        | Kind::RateLimitPolicy
        | Kind::EnvoyExtensionPolicy => vec![UnitId::Status(id.clone())],
        Kind::ReferenceGrant
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::Namespace
        | Kind::Pod
        | Kind::HttpRouteFilter
        | Kind::InferenceObjective
        | Kind::LlmInferenceService => Vec::new(),
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, if self.udp { "/udp" } else { "" })
    }
}
