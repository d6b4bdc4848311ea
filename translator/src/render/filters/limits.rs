//! Limits: the filters that ask the rate limit service, the one that counts in Envoy itself, and the log by which the
//! embedded service learns what requests cost. Inert until a route has limits.

use std::net::IpAddr;
use std::time::Duration;

use kinds::ObjectId;
use xds_api::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use xds_api::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, MetadataFilter, access_log::ConfigType};
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::{ApiVersion, GrpcService};
use xds_api::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use xds_api::envoy::extensions::access_loggers::grpc::v3::{CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig};
use xds_api::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use xds_api::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use xds_api::envoy::extensions::filters::http::ratelimit::v3::rate_limit::XRateLimitHeadersRfcVersion;
use xds_api::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment::Segment};
use xds_api::envoy::r#type::matcher::v3::{MetadataMatcher, ValueMatcher, value_matcher::MatchPattern};
use xds_api::google::protobuf::Any;
use xds_api::{Resource, ResourceType, any};

use crate::engine::{Outcome, Product, UnitId, View};
use crate::options::{Address, LimitService};
use crate::render::build::{boolean, duration, seconds};
use crate::render::cluster::{by_name, dns, http2};

/// For routes that go on without limits while the service cannot be asked.
pub(crate) const OPEN: &str = "envoy.filters.http.ratelimit";
/// For routes that are closed meanwhile.
pub(crate) const CLOSED: &str = "chancery.limits.closed";
pub(crate) const LOCAL: &str = "envoy.filters.http.local_ratelimit";

/// The cluster of the rate limit service.
const CLUSTER: &str = "chancery/limits";
const CONNECT_SECONDS: i64 = 2;
/// Longer than the embedded service waits for a settlement before it turns a request away; and an answer that comes too late
/// has held room for a request that nobody counted.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long costs are gathered before they are told: shorter than the service waits for them.
const SETTLE_EVERY: Duration = Duration::from_millis(20);

fn service() -> GrpcService {
    let envoy = EnvoyGrpc {
        cluster_name: CLUSTER.to_owned(),
        // A cluster's name is no authority, and strict servers refuse it.
        authority: "limits".to_owned(),
        ..EnvoyGrpc::default()
    };
    GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(envoy)), ..GrpcService::default() }
}

fn asking(closed: bool, headers: bool) -> RateLimit {
    let version = if headers { XRateLimitHeadersRfcVersion::DraftVersion03 } else { XRateLimitHeadersRfcVersion::Off };
    RateLimit {
        // Every route names it too; Envoy wants one here.
        domain: crate::policy::limits::DOMAIN.to_owned(),
        timeout: Some(duration(PATIENCE)),
        failure_mode_deny: closed,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(service()),
            transport_api_version: ApiVersion::V3 as i32,
        }),
        enable_x_ratelimit_headers: version as i32,
        ..RateLimit::default()
    }
}

pub(crate) fn install(closed: bool) -> (&'static str, Any) {
    (if closed { CLOSED } else { OPEN }, any(&asking(closed, true)))
}

/// The same without headers that tell clients of their limits.
pub(crate) fn silent(name: &str) -> Option<Any> {
    [(OPEN, false), (CLOSED, true)]
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, closed)| any(&asking(closed, false)))
}

pub(super) fn install_local() -> (&'static str, Any) {
    (LOCAL, any(&LocalRateLimit { stat_prefix: "local-limits".to_owned(), ..LocalRateLimit::default() }))
}

/// Tells the embedded service of requests for which it holds something.
pub(crate) fn settlements() -> AccessLog {
    let held = MetadataFilter {
        matcher: Some(MetadataMatcher {
            filter: OPEN.to_owned(),
            path: vec![PathSegment { segment: Some(Segment::Key("reserved".to_owned())) }],
            value: Some(ValueMatcher { match_pattern: Some(MatchPattern::BoolMatch(true)) }),
            ..MetadataMatcher::default()
        }),
        match_if_key_not_found: Some(boolean(false)),
    };
    let log = HttpGrpcAccessLogConfig {
        common_config: Some(CommonGrpcAccessLogConfig {
            log_name: "chancery.settle".to_owned(),
            grpc_service: Some(service()),
            transport_api_version: ApiVersion::V3 as i32,
            buffer_flush_interval: Some(duration(SETTLE_EVERY)),
            ..CommonGrpcAccessLogConfig::default()
        }),
        ..HttpGrpcAccessLogConfig::default()
    };
    AccessLog {
        name: "envoy.access_loggers.http_grpc".to_owned(),
        filter: Some(AccessLogFilter { filter_specifier: Some(FilterSpecifier::MetadataFilter(held)) }),
        config_type: Some(ConfigType::TypedConfig(any(&log))),
    }
}

/// What a listener with these filters needs.
pub(crate) fn unit(gateway: &ObjectId) -> UnitId {
    UnitId::LimitService(gateway.clone())
}

pub(crate) fn evaluate(view: &View<'_>) -> Outcome {
    let (LimitService::Embedded(address) | LimitService::Stock(address)) = &view.options.limits;
    let Address { host, port } = address;
    let discovery = if host.parse::<IpAddr>().is_ok() {
        ClusterDiscoveryType::Type(DiscoveryType::Static as i32)
    } else {
        ClusterDiscoveryType::ClusterType(dns())
    };
    let cluster = Cluster {
        name: CLUSTER.to_owned(),
        connect_timeout: Some(seconds(CONNECT_SECONDS)),
        cluster_discovery_type: Some(discovery),
        load_assignment: Some(by_name(CLUSTER, &[(host.clone(), *port)])),
        typed_extension_protocol_options: http2(),
        ..Cluster::default()
    };
    Product::Resource(Resource::encode(ResourceType::Cluster, CLUSTER, &cluster)).into()
}
