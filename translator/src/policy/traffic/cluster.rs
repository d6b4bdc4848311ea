//! What a policy says about connections to a backend, put on its cluster.

use kinds::FieldPath;
use kinds::envoy_gateway::AdmissionControl;
use kinds::envoy_gateway::shared::{
    CircuitBreaker, ClusterSettings, DnsFamily, Http2Settings, InvalidMessageAction, ProxyProtocolVersion,
};
use xds_api::any;
use xds_api::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use xds_api::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use xds_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, PreconnectPolicy};
use xds_api::envoy::config::cluster::v3::{Cluster, UpstreamConnectionOptions};
use xds_api::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, KeepaliveSettings, ProxyProtocolConfig, RuntimeDouble,
    RuntimePercent, RuntimeUInt32, TcpKeepalive, TransportSocket, proxy_protocol_config, transport_socket,
};
use xds_api::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use xds_api::envoy::extensions::clusters::dns::v3::DnsCluster;
use xds_api::envoy::extensions::filters::http::admission_control::v3::AdmissionControl as EnvoyAdmissionControl;
use xds_api::envoy::extensions::filters::http::admission_control::v3::admission_control::success_criteria::{
    GrpcCriteria, HttpCriteria,
};
use xds_api::envoy::extensions::filters::http::admission_control::v3::admission_control::{
    EvaluationCriteria, SuccessCriteria,
};
use xds_api::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use xds_api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use xds_api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use xds_api::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use xds_api::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use xds_api::envoy::r#type::v3::{Int32Range, Percent};
use xds_api::google::protobuf::DoubleValue;

use super::{ClusterPlan, health, load_balancer};
use crate::policy::Problem;
use crate::render::build::{boolean, duration, seconds, uint32};
use crate::render::cluster::HTTP_OPTIONS;

const DEFAULT_LIMIT: u32 = 1024;

pub(super) fn problems(written: &ClusterSettings, path: &FieldPath) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(balancer) = &written.load_balancer {
        found.extend(load_balancer::problems(balancer, &path.field("loadBalancer")));
    }
    if let Some(check) = &written.health_check {
        found.extend(health::problems(check, &path.field("healthCheck")));
    }
    if written.connection.as_ref().is_some_and(|connection| connection.socket_buffer_limit.is_some()) {
        let message = "Envoy has no limit of its own for sockets: set connection.bufferLimit";
        found.push(Problem::unsupported(path.field("connection").field("socketBufferLimit"), message));
    }
    found
}

/// Puts a plan on a cluster that has its TLS already.
pub(crate) fn apply(plan: &ClusterPlan, http2: bool, cluster: &mut Cluster) {
    let ClusterPlan { settings, use_client_protocol, admission_control } = plan;
    if let Some(balancer) = &settings.load_balancer {
        cluster.load_balancing_policy = Some(load_balancer::policy(balancer));
    }
    if let Some(check) = &settings.health_check {
        health::apply(check, cluster);
    }
    if let Some(breaker) = &settings.circuit_breaker {
        circuit_breaker(breaker, cluster);
    }
    if let Some(keepalive) = &settings.tcp_keepalive {
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(TcpKeepalive {
                keepalive_probes: keepalive.probes.map(uint32),
                keepalive_time: keepalive.idle_time.map(|time| uint32(whole_seconds(time.0))),
                keepalive_interval: keepalive.interval.map(|time| uint32(whole_seconds(time.0))),
            }),
            ..UpstreamConnectionOptions::default()
        });
    }
    if let Some(connection) = &settings.connection {
        if let Some(limit) = connection.buffer_limit {
            cluster.per_connection_buffer_limit_bytes = Some(uint32(limit.to_u32()));
        }
        cluster.preconnect_policy = connection.preconnect.as_ref().map(|preconnect| {
            let ratio = |percent: u32| DoubleValue { value: f64::from(percent) / 100.0 };
            PreconnectPolicy {
                per_upstream_preconnect_ratio: preconnect.per_endpoint_percent.map(ratio),
                predictive_preconnect_ratio: preconnect.predictive_percent.map(ratio),
                ..PreconnectPolicy::default()
            }
        });
    }
    if let Some(time) = settings.timeout.as_ref().and_then(|timeout| timeout.tcp.as_ref()?.connect_timeout) {
        cluster.connect_timeout = Some(duration(time.0));
    }
    dns(settings, cluster);
    if let Some(version) = settings.proxy_protocol.as_ref().and_then(|proxy| proxy.version) {
        proxy_protocol(version, cluster);
    }
    http_options(settings, http2, *use_client_protocol, admission_control.as_ref(), cluster);
}

fn whole_seconds(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn circuit_breaker(written: &CircuitBreaker, cluster: &mut Cluster) {
    let limit = |value: Option<u32>| Some(uint32(value.unwrap_or(DEFAULT_LIMIT)));
    let breakers = cluster.circuit_breakers.get_or_insert_default();
    breakers.thresholds = vec![Thresholds {
        max_connections: limit(written.max_connections),
        max_pending_requests: limit(written.max_pending_requests),
        max_requests: limit(written.max_parallel_requests),
        max_retries: limit(written.max_parallel_retries),
        retry_budget: written.retry_budget.as_ref().map(|budget| RetryBudget {
            budget_percent: Some(Percent { value: f64::from(budget.percent.millionths()) / 10_000.0 }),
            min_retry_concurrency: budget.min_retry_concurrency.map(uint32),
            ..RetryBudget::default()
        }),
        ..Thresholds::default()
    }];
    let per_endpoint = written.per_endpoint.as_ref().and_then(|endpoint| endpoint.max_connections);
    breakers.per_host_thresholds = per_endpoint
        .map(|connections| Thresholds { max_connections: Some(uint32(connections)), ..Thresholds::default() })
        .into_iter()
        .collect();
}

fn dns(settings: &ClusterSettings, cluster: &mut Cluster) {
    let Some(written) = &settings.dns else { return };
    let Some(ClusterDiscoveryType::ClusterType(custom)) = &mut cluster.cluster_discovery_type else { return };
    let mut config = DnsCluster {
        respect_dns_ttl: written.respect_dns_ttl.unwrap_or(true),
        dns_refresh_rate: written.dns_refresh_rate.map(|time| duration(time.0)),
        dns_lookup_family: DnsLookupFamily::V4Preferred as i32,
        ..DnsCluster::default()
    };
    if let Some(family) = written.lookup_family {
        config.dns_lookup_family = match family {
            DnsFamily::V4 => DnsLookupFamily::V4Only,
            DnsFamily::V6 => DnsLookupFamily::V6Only,
            DnsFamily::V4Preferred => DnsLookupFamily::V4Preferred,
            DnsFamily::V6Preferred => DnsLookupFamily::Auto,
            DnsFamily::All => DnsLookupFamily::All,
        } as i32;
    }
    custom.typed_config = Some(any(&config));
}

/// Says before anything else, the handshake included, who is calling.
fn proxy_protocol(version: ProxyProtocolVersion, cluster: &mut Cluster) {
    let version = match version {
        ProxyProtocolVersion::V1 => proxy_protocol_config::Version::V1,
        ProxyProtocolVersion::V2 => proxy_protocol_config::Version::V2,
    };
    let inner = cluster.transport_socket.take().unwrap_or_else(|| TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&RawBuffer {}))),
    });
    let outer = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version as i32, ..ProxyProtocolConfig::default() }),
        transport_socket: Some(inner),
        ..ProxyProtocolUpstreamTransport::default()
    };
    cluster.transport_socket = Some(TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&outer))),
    });
}

fn http_options(
    settings: &ClusterSettings,
    http2: bool,
    use_client_protocol: bool,
    admission: Option<&AdmissionControl>,
    cluster: &mut Cluster,
) {
    let timeout = settings.timeout.as_ref().and_then(|timeout| timeout.http.as_ref());
    let per_connection = settings.circuit_breaker.as_ref().and_then(|breaker| breaker.max_requests_per_connection);
    let common = CommonOptions {
        idle_timeout: timeout.and_then(|http| http.connection_idle_timeout).map(|time| duration(time.0)),
        max_connection_duration: timeout.and_then(|http| http.max_connection_duration).map(|time| duration(time.0)),
        max_requests_per_connection: per_connection.map(uint32),
        ..CommonOptions::default()
    };
    let plain = common == CommonOptions::default() && settings.http2.is_none() && admission.is_none();
    if plain && !use_client_protocol {
        return;
    }
    let h2 = settings.http2.as_ref().map(http2_options).unwrap_or_default();
    let protocol = if use_client_protocol {
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(<_>::default()),
            http2_protocol_options: Some(h2),
            ..UseDownstreamHttpConfig::default()
        })
    } else {
        let one = if http2 {
            ProtocolConfig::Http2ProtocolOptions(h2)
        } else {
            ProtocolConfig::HttpProtocolOptions(<_>::default())
        };
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(one) })
    };
    let http_filters = admission.map(|written| {
        let filter = |name: &str, config| HttpFilter {
            name: name.to_owned(),
            config_type: Some(ConfigType::TypedConfig(config)),
            ..HttpFilter::default()
        };
        vec![
            filter("envoy.filters.http.admission_control", any(&admission_control(written))),
            filter("envoy.filters.http.upstream_codec", any(&UpstreamCodec {})),
        ]
    });
    let options = HttpProtocolOptions {
        common_http_protocol_options: (common != CommonOptions::default()).then_some(common),
        upstream_protocol_options: Some(protocol),
        http_filters: http_filters.unwrap_or_default(),
        ..HttpProtocolOptions::default()
    };
    cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), any(&options));
}

pub(crate) fn http2_options(written: &Http2Settings) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        initial_stream_window_size: written.initial_stream_window_size.map(|size| uint32(size.to_u32())),
        initial_connection_window_size: written.initial_connection_window_size.map(|size| uint32(size.to_u32())),
        max_concurrent_streams: written.max_concurrent_streams.map(uint32),
        override_stream_error_on_invalid_http_message: written
            .on_invalid_message
            .map(|action| boolean(action == InvalidMessageAction::TerminateStream)),
        connection_keepalive: written.connection_keepalive.as_ref().map(|keepalive| KeepaliveSettings {
            interval: keepalive.interval.map(|time| duration(time.0)),
            timeout: Some(keepalive.timeout.map_or(seconds(20), |time| duration(time.0))),
            interval_jitter: keepalive.interval_jitter.map(|percent| Percent { value: f64::from(percent) }),
            connection_idle_interval: keepalive.idle_interval.map(|time| duration(time.0)),
        }),
        ..Http2ProtocolOptions::default()
    }
}

fn admission_control(written: &AdmissionControl) -> EnvoyAdmissionControl {
    let percent = |value: u32| RuntimePercent {
        default_value: Some(Percent { value: f64::from(value) }),
        runtime_key: "admission_control.percent".to_owned(),
    };
    let criteria = written.success_criteria.clone().unwrap_or_default();
    let statuses = criteria.http.map(|http| http.status_codes).unwrap_or_default();
    let range = |status: u32| {
        let start = i32::try_from(status).unwrap_or_default();
        Int32Range { start, end: start + 1 }
    };
    // Without a word about what is a success, an answer below 500 is one.
    let http_success_status = if statuses.is_empty() {
        vec![Int32Range { start: 100, end: 500 }]
    } else {
        statuses.into_iter().map(range).collect()
    };
    let names = criteria.grpc.map(|grpc| grpc.status_codes).unwrap_or_default();
    let grpc_success_status =
        if names.is_empty() { vec![0] } else { names.iter().filter_map(|name| grpc_status(name)).collect() };
    EnvoyAdmissionControl {
        sampling_window: written.sampling_window.map(|time| duration(time.0)),
        aggression: written.rejection_aggression.map(|value| RuntimeDouble {
            default_value: f64::from(value),
            runtime_key: "admission_control.aggression".to_owned(),
        }),
        sr_threshold: written.min_success_rate.map(percent),
        rps_threshold: written.min_request_rate.map(|default_value| RuntimeUInt32 {
            default_value,
            runtime_key: "admission_control.rps_threshold".to_owned(),
        }),
        max_rejection_probability: written.max_rejection_percent.map(percent),
        evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria {
            http_criteria: Some(HttpCriteria { http_success_status }),
            grpc_criteria: Some(GrpcCriteria { grpc_success_status }),
        })),
        ..EnvoyAdmissionControl::default()
    }
}

const GRPC_STATUSES: [&str; 17] = [
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

fn grpc_status(name: &str) -> Option<u32> {
    GRPC_STATUSES.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok())
}
