//! Backends of type DynamicResolver: the server is the one that the request names.
//!
//! Cluster and filter look names up in one cache, whose settings stand in both. The filter is part of the chain
//! where there is such a cluster, and looks only at requests that go to one.
//!
//! Invariant: a client does not reach what only the proxy itself can reach. Names that lead to the machine of the proxy,
//! or to the address at which clouds hand out credentials, have no address.

use kinds::Object;
use kinds::envoy_gateway::{BackendSpec, BackendType};
use prost::Message;
use xds_api::any;
use xds_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, CustomClusterType, LbPolicy};
use xds_api::envoy::config::cluster::v3::{Cluster, cluster};
use xds_api::envoy::config::core::v3::UpstreamHttpProtocolOptions;
use xds_api::envoy::extensions::clusters::dynamic_forward_proxy::v3::ClusterConfig;
use xds_api::envoy::extensions::clusters::dynamic_forward_proxy::v3::cluster_config::ClusterImplementationSpecifier;
use xds_api::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use xds_api::envoy::extensions::filters::http::dynamic_forward_proxy::v3::filter_config::ImplementationSpecifier;
use xds_api::envoy::extensions::filters::http::dynamic_forward_proxy::v3::per_route_config::HostRewriteSpecifier;
use xds_api::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{FilterConfig, PerRouteConfig};
use xds_api::envoy::r#type::matcher::v3::AddressMatcher;
use xds_api::google::protobuf::Any;
use xds_api::xds::core::v3::CidrRange;

use xxhash_rust::xxh3::xxh3_64;

use super::build::uint32;
use super::cluster::edit_http_options;

pub(super) const FILTER: &str = "chancery.dynamic";

/// Loopback, "this host" and link-local addresses; and addresses of IPv4 written as of IPv6, which are all of those too.
const NOT_FOR_CLIENTS: [(&str, u32); 7] = [
    ("127.0.0.0", 8),
    ("0.0.0.0", 8),
    ("169.254.0.0", 16),
    ("::", 128),
    ("::1", 128),
    ("::ffff:0:0", 96),
    ("fe80::", 10),
];

fn cache() -> DnsCacheConfig {
    let ranges = NOT_FOR_CLIENTS
        .map(|(prefix, length)| CidrRange { address_prefix: prefix.to_owned(), prefix_len: Some(uint32(length)) });
    let mut cache = DnsCacheConfig {
        dns_lookup_family: cluster::DnsLookupFamily::V4Preferred as i32,
        resolved_address_filter: Some(AddressMatcher { ranges: ranges.into(), ..AddressMatcher::default() }),
        ..DnsCacheConfig::default()
    };
    // Envoy refuses other settings under a name that it knows: a newer version of these has another name.
    cache.name = format!("chancery-{:08x}", xxh3_64(&cache.encode_to_vec()) >> 32);
    cache
}

pub(super) fn install() -> (&'static str, Any) {
    let config = FilterConfig {
        implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(cache())),
        ..Default::default()
    };
    (FILTER, any(&config))
}

/// The order of a route that sends another name than the client's: that one is looked up.
pub(crate) fn order(host: &str) -> (&'static str, Any) {
    let specifier = HostRewriteSpecifier::HostRewriteLiteral(host.to_owned());
    (FILTER, any(&PerRouteConfig { host_rewrite_specifier: Some(specifier) }))
}

/// Whether an object is a backend whose servers are the ones that requests name.
pub(crate) fn is(backend: &Object) -> bool {
    backend.spec::<BackendSpec>().is_some_and(|spec| spec.kind == BackendType::DynamicResolver)
}

pub(super) fn discovery() -> ClusterDiscoveryType {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(cache())),
        ..ClusterConfig::default()
    };
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
        typed_config: Some(any(&config)),
    })
}

/// Which of the servers it is is no question of balance, whatever a policy says, and each has to prove the name it was
/// asked by.
pub(super) fn complete(cluster: &mut Cluster) {
    cluster.load_balancing_policy = None;
    cluster.lb_policy = LbPolicy::ClusterProvided as i32;
    cluster.ignore_health_on_host_removal = false;
    if cluster.transport_socket.is_some() {
        edit_http_options(cluster, |options| {
            options.upstream_http_protocol_options = Some(UpstreamHttpProtocolOptions {
                auto_sni: true,
                auto_san_validation: true,
                ..UpstreamHttpProtocolOptions::default()
            });
        });
    }
}
