//! The methods that are served: the aggregated service, and one service for each type.

use xds_api::ResourceType;

use crate::protocol::Variant;

/// What a path asks for: the variant, and the type of a per-type method.
pub(crate) fn lookup(path: &str) -> Option<(Variant, Option<ResourceType>)> {
    let (service, method) = path.trim_start_matches('/').split_once('/')?;
    let row = TABLE.iter().find(|(name, ..)| *name == service)?;
    let (_, sotw, delta, kind) = row;
    if method == *sotw {
        Some((Variant::Sotw, *kind))
    } else if method == *delta {
        Some((Variant::Delta, *kind))
    } else {
        None
    }
}

type Row = (&'static str, &'static str, &'static str, Option<ResourceType>);

#[rustfmt::skip]
const TABLE: [Row; 11] = [
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources", "DeltaAggregatedResources", None),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "StreamListeners", "DeltaListeners", Some(ResourceType::Listener)),
    ("envoy.service.route.v3.RouteDiscoveryService", "StreamRoutes", "DeltaRoutes", Some(ResourceType::RouteConfiguration)),
    ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "StreamScopedRoutes", "DeltaScopedRoutes", Some(ResourceType::ScopedRoute)),
    ("envoy.service.route.v3.VirtualHostDiscoveryService", "", "DeltaVirtualHosts", Some(ResourceType::VirtualHost)),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "StreamClusters", "DeltaClusters", Some(ResourceType::Cluster)),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "StreamEndpoints", "DeltaEndpoints", Some(ResourceType::Endpoints)),
    ("envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets", "DeltaSecrets", Some(ResourceType::Secret)),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "StreamRuntime", "DeltaRuntime", Some(ResourceType::Runtime)),
    ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "StreamExtensionConfigs", "DeltaExtensionConfigs", Some(ResourceType::ExtensionConfig)),
    ("ratelimit.service.ratelimit.v3.RateLimitConfigDiscoveryService", "StreamRlsConfigs", "", Some(ResourceType::RateLimitConfig)),
];
