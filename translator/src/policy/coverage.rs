//! What becomes of each field of Envoy Gateway's policies and of EnvoyProxy.
//!
//! A field is rendered unless the table says otherwise. The entries of the table are paths below `spec`, without indices; an
//! entry speaks for everything below it. The tests hold the table against the official schemas: a field that the types
//! do not read must have an entry, and a field that is refused must be refused by name when it is used.

use kinds::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Rendered,
    /// An object that uses it is told so, by the name of the field.
    Refused(&'static str),
    /// It says nothing that Envoy's configuration depends on.
    NoMeaning(&'static str),
}

const DEPLOYMENT: &str = "whoever runs the proxies reads it: in a cluster, managed Envoys follow it";
const BOOTSTRAP: &str = "part of the bootstrap, which a proxy reads before it knows this control plane";

/// What is not rendered, by kind and path.
pub const TABLE: &[(Kind, &str, Treatment)] = &[
    (
        Kind::SecurityPolicy,
        "extAuth.contextExtensions",
        Treatment::Refused("a service that many routes share is told nothing about the single route"),
    ),
    (
        Kind::SecurityPolicy,
        "extAuth.includeRouteMetadata",
        Treatment::Refused("routes carry no metadata of Envoy Gateway's"),
    ),
    (
        Kind::SecurityPolicy,
        "authorization.rules.principal.clientIPGeoLocations",
        Treatment::Refused("no GeoIP database is read"),
    ),
    (
        Kind::SecurityPolicy,
        "oidc.provider.issuer",
        Treatment::NoMeaning("nothing is fetched while translating: the endpoints are written beside it"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "loadBalancer.dynamicModule",
        Treatment::Refused("no module is loaded into the proxies"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "connection.socketBufferLimit",
        Treatment::Refused("Envoy has no limit of its own for sockets: set connection.bufferLimit"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "compression.gzip",
        Treatment::NoMeaning("it has no fields: `type` chooses the algorithm"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "compression.brotli",
        Treatment::NoMeaning("it has no fields: `type` chooses the algorithm"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "compression.zstd",
        Treatment::NoMeaning("it has no fields: `type` chooses the algorithm"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "responseOverride.response.header.remove",
        Treatment::Refused("headers of a replaced answer can be set and added, not removed"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "responseOverride.redirect.path.replacePrefixMatch",
        Treatment::Refused("an answer no longer knows which prefix its request matched"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.type",
        Treatment::NoMeaning("global and local limits are in force where they are written"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.local.rules.shared",
        Treatment::Refused("each Envoy counts by itself, and each route apart"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.local.rules.shadowMode",
        Treatment::Refused("a local limit is in force or absent"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.local.rules.limit.fromMetadata",
        Treatment::Refused("a local limit is the same for all requests"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.local.rules.cost.response",
        Treatment::Refused("a local limit counts requests when they come"),
    ),
    (
        Kind::BackendTrafficPolicy,
        "rateLimit.local.rules.cost.request.metadata",
        Treatment::Refused("a local limit counts by numbers"),
    ),
    (
        Kind::ClientTrafficPolicy,
        "connection.socketBufferLimit",
        Treatment::Refused("Envoy has no limit of its own for sockets: set connection.bufferLimit"),
    ),
    (Kind::ClientTrafficPolicy, "http3", Treatment::Refused("listeners are TCP only: HTTP/3 is not served")),
    (
        Kind::ClientTrafficPolicy,
        "clientIPDetection.directSourceIP",
        Treatment::NoMeaning("it is what is done where nothing is said"),
    ),
    (Kind::EnvoyProxy, "provider", Treatment::NoMeaning(DEPLOYMENT)),
    (Kind::EnvoyProxy, "extraArgs", Treatment::NoMeaning(DEPLOYMENT)),
    (Kind::EnvoyProxy, "shutdown", Treatment::NoMeaning(DEPLOYMENT)),
    (Kind::EnvoyProxy, "logging", Treatment::NoMeaning(DEPLOYMENT)),
    (Kind::EnvoyProxy, "concurrency", Treatment::NoMeaning(DEPLOYMENT)),
    (Kind::EnvoyProxy, "bootstrap", Treatment::NoMeaning(BOOTSTRAP)),
    (Kind::EnvoyProxy, "luaValidation", Treatment::NoMeaning("scripts of users are checked by Envoy alone")),
    (Kind::EnvoyProxy, "mergeBackends", Treatment::NoMeaning("a backend is one cluster always")),
    (Kind::EnvoyProxy, "mergeGateways", Treatment::Refused("each Gateway has Envoys of its own")),
    (Kind::EnvoyProxy, "dynamicModules", Treatment::Refused("no module is loaded into the proxies")),
    (Kind::EnvoyProxy, "geoIP", Treatment::Refused("no GeoIP database is read")),
    (Kind::EnvoyProxy, "preserveRouteOrder", Treatment::Refused("routes stand in the order of Gateway API")),
    (Kind::EnvoyProxy, "ipFamily", Treatment::Refused("listeners are bound to IPv4 addresses")),
    (Kind::EnvoyProxy, "telemetry.metrics.prometheus", Treatment::NoMeaning(BOOTSTRAP)),
    (Kind::EnvoyProxy, "telemetry.metrics.matches", Treatment::NoMeaning(BOOTSTRAP)),
    (Kind::EnvoyProxy, "telemetry.metrics.sinks", Treatment::Refused(BOOTSTRAP)),
    (
        Kind::EnvoyProxy,
        "telemetry.metrics.enableVirtualHostStats",
        Treatment::Refused("hosts have no statistics of their own"),
    ),
    (
        Kind::EnvoyProxy,
        "telemetry.metrics.enablePerEndpointStats",
        Treatment::Refused("clusters have no statistics for each endpoint"),
    ),
    (
        Kind::EnvoyProxy,
        "telemetry.metrics.enableRequestResponseSizesStats",
        Treatment::Refused("clusters have no statistics of sizes"),
    ),
    (Kind::EnvoyProxy, "telemetry.metrics.enableGRPCStats", Treatment::Refused("calls are not counted apart")),
    (Kind::EnvoyProxy, "telemetry.metrics.clusterStatName", Treatment::Refused("clusters are counted by their names")),
    (
        Kind::EnvoyProxy,
        "telemetry.healthCheckLog",
        Treatment::Refused("set healthCheck.active.healthCheckLog of a BackendTrafficPolicy"),
    ),
    (
        Kind::EnvoyProxy,
        "backendTLS.fingerprints",
        Treatment::Refused("fingerprints are taken of clients, not of backends"),
    ),
];

/// The kinds that the table speaks for.
pub const KINDS: [Kind; 4] =
    [Kind::SecurityPolicy, Kind::BackendTrafficPolicy, Kind::ClientTrafficPolicy, Kind::EnvoyProxy];

/// What becomes of a field.
#[must_use]
pub fn treatment(kind: Kind, path: &str) -> Treatment {
    let entry = TABLE.iter().find(|(of, prefix, _)| {
        let below = path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        *of == kind && below
    });
    entry.map_or(Treatment::Rendered, |(_, _, treatment)| *treatment)
}
