//! A cluster: one backend as one Gateway's Envoys reach it.

use std::collections::BTreeMap;

use kinds::core::Service;
use kinds::envoy_gateway::{BackendSpec, BackendType};
use kinds::inference::InferencePoolSpec;
use kinds::{Kind, ObjectId};
use prost::Message;
use xds_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, CustomClusterType, DiscoveryType, EdsClusterConfig,
};
use xds_api::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, LoadBalancingPolicy, circuit_breakers, load_balancing_policy,
};
use xds_api::envoy::config::core::v3::{Http2ProtocolOptions, TypedExtensionConfig};
use xds_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use xds_api::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use xds_api::envoy::extensions::clusters::dns::v3::DnsCluster;
use xds_api::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use xds_api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use xds_api::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use xds_api::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use xds_api::{Resource, ResourceType, any};

use super::build::{from_ads, seconds, socket, uint32};
use super::dynamic;
use super::filters::presence;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::Role;
use crate::names::{ClusterId, Form};
use crate::policy::traffic;

const CONNECT_SECONDS: i64 = 10;
/// A pool serves as many requests as its servers take: the limits of Envoy's defaults are too small for streams.
const MAX_IN_FLIGHT: u32 = 1 << 20;
const MAX_RETRIES: u32 = 1024;

pub(crate) fn evaluate(gateway: &ObjectId, id: &ClusterId, view: &View<'_>) -> Outcome {
    let name = id.to_string();
    let mut cluster = Cluster {
        name: name.clone(),
        connect_timeout: Some(seconds(CONNECT_SECONDS)),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![circuit_breakers::Thresholds {
                max_connections: Some(uint32(MAX_IN_FLIGHT)),
                max_pending_requests: Some(uint32(MAX_IN_FLIGHT)),
                max_requests: Some(uint32(MAX_IN_FLIGHT)),
                max_retries: Some(uint32(MAX_RETRIES)),
                ..Default::default()
            }],
            ..CircuitBreakers::default()
        }),
        common_lb_config: Some(CommonLbConfig::default()),
        ignore_health_on_host_removal: true,
        load_balancing_policy: Some(least_request()),
        ..Cluster::default()
    };
    let mut demands = Vec::new();
    let discovery = discovery(id, view);
    let by_request = matches!(discovery, Discovery::ByRequest);
    match discovery {
        Discovery::ByRequest => cluster.cluster_discovery_type = Some(dynamic::discovery()),
        Discovery::Endpoints => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32));
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(from_ads()), service_name: name.clone() });
            demands.push(UnitId::Endpoints(gateway.clone(), id.clone()));
        }
        Discovery::Dns(hosts) => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(dns()));
            cluster.load_assignment = Some(by_name(&name, &hosts));
        }
        Discovery::Assigned(endpoints) => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(dns()));
            cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: name.clone(),
                endpoints,
                ..ClusterLoadAssignment::default()
            });
        }
    }
    if speaks_http2(id, view) {
        cluster.typed_extension_protocol_options = http2();
    }
    // Where several backends stand in one cluster, each has its own.
    if !matches!(id.form, Form::Takeover(_)) {
        super::upstream_tls::apply(id, &mut cluster, gateway, &mut demands, view);
    }
    if let Some(plan) = id.settings.as_ref().and_then(|settings| traffic::plan(settings, view)) {
        traffic::apply_to_cluster(&plan, speaks_http2(id, view), &mut cluster);
    }
    if by_request {
        dynamic::complete(&mut cluster);
        demands.extend(presence::used(gateway, dynamic::FILTER));
    }
    crate::ai::complete_cluster(gateway, id, &mut cluster, &mut demands, view);
    let product = Product::Resource(Resource::encode(ResourceType::Cluster, &name, &cluster));
    Outcome { product, demands, diagnostics: Vec::new() }
}

pub(crate) enum Discovery {
    Endpoints,
    /// Several backends together, some of them by name.
    Assigned(Vec<LocalityLbEndpoints>),
    Dns(Vec<(String, u16)>),
    /// Each request names its server.
    ByRequest,
}

pub(crate) fn discovery(id: &ClusterId, view: &View<'_>) -> Discovery {
    if crate::ai::makes(id) {
        return crate::ai::discovery(id, view);
    }
    match id.backend.kind {
        Kind::Service => {
            let Some(service) = view.spec::<Service>(&id.backend) else { return Discovery::Endpoints };
            let port = id.port.unwrap_or_default();
            if let Some(name) = &service.spec.external_name {
                return Discovery::Dns(vec![(name.to_string(), port)]);
            }
            if view.referrers(&id.backend, Role::Slice).next().is_some() {
                return Discovery::Endpoints;
            }
            // No slices were ever written for it: in a directory, its name is all that is known.
            let host = format!("{}.{}.svc.{}", id.backend.name, id.backend.namespace, view.options.cluster_domain);
            Discovery::Dns(vec![(host, port)])
        }
        Kind::Backend => {
            let Some(backend) = view.spec::<BackendSpec>(&id.backend) else { return Discovery::Endpoints };
            if backend.kind == BackendType::DynamicResolver {
                return Discovery::ByRequest;
            }
            let names: Vec<_> = backend.endpoints.iter().filter_map(|endpoint| endpoint.fqdn.as_ref()).collect();
            if names.is_empty() || names.len() < backend.endpoints.len() {
                return Discovery::Endpoints;
            }
            Discovery::Dns(names.into_iter().map(|name| (name.hostname.to_string(), name.port)).collect())
        }
        _ => Discovery::Endpoints,
    }
}

pub(super) fn dns() -> CustomClusterType {
    let config = DnsCluster {
        respect_dns_ttl: true,
        dns_lookup_family: DnsLookupFamily::V4Preferred as i32,
        ..DnsCluster::default()
    };
    CustomClusterType { name: "envoy.cluster.dns".to_owned(), typed_config: Some(any(&config)) }
}

pub(super) fn by_name(cluster: &str, hosts: &[(String, u16)]) -> ClusterLoadAssignment {
    let endpoints = hosts.iter().map(|(host, port)| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(host, *port, false)),
            hostname: host.clone(),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    });
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints: endpoints.collect(), ..LocalityLbEndpoints::default() }],
        ..ClusterLoadAssignment::default()
    }
}

/// What the port says it speaks, in the names that Kubernetes and Gateway API give to protocols.
fn speaks_http2(id: &ClusterId, view: &View<'_>) -> bool {
    let by_port = || {
        let service = view.spec::<Service>(&id.backend)?;
        let port = service.spec.ports.iter().find(|port| Some(port.port) == id.port)?;
        Some(matches!(port.app_protocol.as_deref()?, "kubernetes.io/h2c" | "grpc" | "h2c" | "http2"))
    };
    let by_backend = || {
        let backend = view.spec::<BackendSpec>(&id.backend)?;
        Some(backend.app_protocols.iter().any(|protocol| protocol.ends_with("/h2c")))
    };
    let by_pool = || {
        let pool = view.spec::<InferencePoolSpec>(&id.backend)?;
        Some(pool.app_protocol.as_deref()?.ends_with("/h2c"))
    };
    let said = match id.backend.kind {
        Kind::Service => by_port(),
        Kind::Backend => by_backend(),
        Kind::InferencePool => by_pool(),
        _ => None,
    };
    id.http2 || said.unwrap_or(false)
}

pub(super) fn http2() -> BTreeMap<String, xds_api::google::protobuf::Any> {
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())),
        })),
        ..HttpProtocolOptions::default()
    };
    [(HTTP_OPTIONS.to_owned(), any(&options))].into()
}

pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Changes how a cluster speaks HTTP, and leaves the rest of it as it is.
pub(crate) fn edit_http_options(cluster: &mut Cluster, edit: impl FnOnce(&mut HttpProtocolOptions)) {
    let options = &mut cluster.typed_extension_protocol_options;
    let existing = options.get(HTTP_OPTIONS).and_then(|any| HttpProtocolOptions::decode(any.value.clone()).ok());
    let mut http = existing.unwrap_or_default();
    if http.upstream_protocol_options.is_none() {
        http.upstream_protocol_options = Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::HttpProtocolOptions(Default::default())),
        }));
    }
    edit(&mut http);
    options.insert(HTTP_OPTIONS.to_owned(), any(&http));
}

pub(crate) fn least_request() -> LoadBalancingPolicy {
    LoadBalancingPolicy {
        policies: vec![load_balancing_policy::Policy {
            typed_extension_config: Some(TypedExtensionConfig {
                name: "envoy.load_balancing_policies.least_request".to_owned(),
                typed_config: Some(any(&LeastRequest::default())),
            }),
        }],
    }
}
