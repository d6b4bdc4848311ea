//! Inference pools: their servers as endpoints, and the picker that chooses among them.
//!
//! The picker names an endpoint; the balancer takes it when it is one of the pool's, and chooses by itself when none was
//! named. So a pool is served without its picker too, where its author allows that.

use std::collections::BTreeMap;

use kinds::core::{EndpointSlice, Pod, Service};
use kinds::inference::{EndpointPickerRef, FailureMode, InferencePoolSpec};
use kinds::{Kind, ObjectId};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::cluster::v3::{Cluster, LoadBalancingPolicy, load_balancing_policy};
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::health_check::{HealthChecker, TcpHealthCheck};
use xds_api::envoy::config::core::v3::{
    GrpcService, HealthCheck, HealthStatus, TransportSocket, TypedExtensionConfig, transport_socket,
};
use xds_api::envoy::extensions::filters::http::buffer::v3::Buffer;
use xds_api::envoy::extensions::filters::http::composite::v3::{Composite, CompositePerRoute, ExecuteFilterAction};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::metadata_options::MetadataNamespaces;
use xds_api::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{BodySendMode, HeaderSendMode};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::{
    ExternalProcessor, MetadataOptions, ProcessingMode, external_processor::RouteCacheAction,
};
use xds_api::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use xds_api::envoy::extensions::load_balancing_policies::common::v3::LocalityLbConfig;
use xds_api::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use xds_api::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use xds_api::envoy::extensions::load_balancing_policies::override_host::v3::OverrideHost;
use xds_api::envoy::extensions::load_balancing_policies::override_host::v3::override_host::OverrideHostSource;
use xds_api::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use xds_api::envoy::r#type::metadata::v3::MetadataKey;
use xds_api::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment::Segment};
use xds_api::envoy::r#type::v3::Percent;
use xds_api::google::protobuf::Any;

use crate::PickerBodies;
use crate::engine::View;
use crate::graph::{Role, Target, Verdict};
use crate::names::{ClusterId, ClusterName, Form};
use crate::render::build::{duration, seconds, socket, uint32};
use crate::render::cluster::least_request;
use crate::render::endpoints::{Zones, at};
use crate::render::filters::traffic;
use crate::render::matcher;
use crate::routing::Broken;

/// Asks a pool's picker; a route says which.
pub(crate) const PICKER: &str = "chancery.endpoint_picker";
const METADATA: &str = "envoy.lb";
const DESTINATION: &str = "x-gateway-destination-endpoint";
const SERVED: &str = "x-gateway-destination-endpoint-served";
/// In which a server says how busy it is.
pub(super) const LOAD_REPORT: &str = "endpoint-load-metrics";
/// Servers that report their load are balanced by it where their pool says so.
const BY_LOAD: &str = "chancery.dev/load-reports";
/// How the picker of a pool takes bodies, where that is not what the deployment says.
const BODIES: &str = "chancery.dev/picker-bodies";
/// The largest body that is put together for a picker.
const WHOLE_BODY: u32 = 50 << 20;
/// A picker may hold a request back while its pool is busy.
const PICKER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

pub(crate) fn install() -> (&'static str, Any) {
    (PICKER, any(&Composite::default()))
}

/// The servers of a pool: ready pods that the selector names, or else what the slices of Services for those pods hold.
pub(super) fn zones(pool: &ObjectId, view: &View<'_>) -> Zones {
    let mut zones = Zones::default();
    let Some(spec) = view.spec::<InferencePoolSpec>(pool) else { return zones };
    if spec.selector.is_empty() {
        return zones;
    }
    let mut add = |zone: &str, address: &str, status: HealthStatus| {
        for port in &spec.target_ports {
            zones.add(zone, (address, *port), at(socket(address, *port, false), status));
        }
    };
    for id in view.members(Kind::Pod, Some(&pool.namespace)) {
        let Some(object) = view.object(id) else { continue };
        let Some(pod) = object.spec::<Pod>() else { continue };
        if let Some(address) = &pod.status.pod_ip
            && selected(&spec.selector, &object.meta.labels)
            && pod.is_ready()
            && !object.meta.deleted
        {
            add("", address, HealthStatus::Unknown);
        }
    }
    for id in view.members(Kind::Service, Some(&pool.namespace)) {
        let for_pool = view.spec::<Service>(id).is_some_and(|service| selected(&spec.selector, &service.spec.selector));
        if !for_pool {
            continue;
        }
        for slice in view.referrers(id, Role::Slice) {
            let Some(slice) = view.spec::<EndpointSlice>(slice) else { continue };
            for endpoint in &slice.endpoints {
                let status = if endpoint.is_ready() {
                    HealthStatus::Unknown
                } else if endpoint.is_draining() {
                    HealthStatus::Draining
                } else {
                    continue;
                };
                let zone = endpoint.zone.as_deref().unwrap_or_default();
                endpoint.addresses.iter().for_each(|address| add(zone, address, status));
            }
        }
    }
    zones
}

fn selected(selector: &BTreeMap<SmolStr, SmolStr>, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A pool's picker, when it names one.
pub(crate) fn picker(pool: &ObjectId, view: &View<'_>) -> Result<Option<(ClusterId, FailureMode)>, Broken> {
    let Some(spec) = view.spec::<InferencePoolSpec>(pool) else { return Ok(None) };
    let Some(EndpointPickerRef { port, failure_mode, name, .. }) = &spec.endpoint_picker else { return Ok(None) };
    let broken = |message: String| Err(Broken { reason: "InvalidExtensionRef", message });
    let Some(edge) = view.reference(pool, "spec.endpointPickerRef") else { return Ok(None) };
    let id = match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => id,
        // It does not stand in the way of a pool that may do without it.
        (target, _) if *failure_mode == FailureMode::FailClose => {
            return broken(format!("{pool}: endpoint picker {target} does not exist"));
        }
        _ => return Ok(None),
    };
    let Some(port) = port else { return broken(format!("{pool}: a reference to endpoint picker {name} needs a port")) };
    let cluster =
        ClusterName { port: Some(*port), http2: true, form: Form::Picker, ..ClusterName::of_backend(id.clone()) };
    Ok(Some((cluster.into(), *failure_mode)))
}

/// How the picker of a pool takes bodies.
pub(crate) fn bodies(pool: &ObjectId, view: &View<'_>) -> PickerBodies {
    let asked = view.object(pool).and_then(|pool| pool.meta.annotations.get(BODIES));
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(view.options.picker_bodies)
}

/// The orders by which a route has the picker of its pool asked.
pub(crate) fn picker_orders(cluster: &ClusterId, failure_mode: FailureMode, bodies: PickerBodies) -> Any {
    let processing_mode = match bodies {
        PickerBodies::Streamed => ProcessingMode {
            request_header_mode: HeaderSendMode::Send as i32,
            response_header_mode: HeaderSendMode::Send as i32,
            request_body_mode: BodySendMode::FullDuplexStreamed as i32,
            response_body_mode: BodySendMode::FullDuplexStreamed as i32,
            request_trailer_mode: HeaderSendMode::Send as i32,
            response_trailer_mode: HeaderSendMode::Send as i32,
        },
        PickerBodies::Whole => ProcessingMode {
            request_header_mode: HeaderSendMode::Send as i32,
            response_header_mode: HeaderSendMode::Send as i32,
            request_body_mode: BodySendMode::Streamed as i32,
            response_body_mode: BodySendMode::None as i32,
            request_trailer_mode: HeaderSendMode::Skip as i32,
            response_trailer_mode: HeaderSendMode::Skip as i32,
        },
    };
    let namespaces =
        || Some(MetadataNamespaces { untyped: vec![METADATA.to_owned()], ..MetadataNamespaces::default() });
    let processor = ExternalProcessor {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: cluster.to_string(),
                authority: cluster.authority(),
                ..EnvoyGrpc::default()
            })),
            timeout: Some(duration(PICKER_PATIENCE)),
            ..GrpcService::default()
        }),
        failure_mode_allow: failure_mode == FailureMode::FailOpen,
        processing_mode: Some(processing_mode),
        send_body_without_waiting_for_header_response: bodies == PickerBodies::Whole,
        message_timeout: Some(duration(PICKER_PATIENCE)),
        metadata_options: Some(MetadataOptions {
            forwarding_namespaces: namespaces(),
            receiving_namespaces: namespaces(),
            ..MetadataOptions::default()
        }),
        route_cache_action: RouteCacheAction::Retain as i32,
        ..ExternalProcessor::default()
    };
    let action = ExecuteFilterAction {
        typed_config: Some(TypedExtensionConfig {
            name: "envoy.filters.http.ext_proc".to_owned(),
            typed_config: Some(any(&processor)),
        }),
        ..ExecuteFilterAction::default()
    };
    any(&CompositePerRoute { matcher: Some(matcher::always(any(&action))) })
}

/// The orders by which a body is put together before a picker sees it: one piece, so that there is one answer to it. It
/// happens in a place before the picker's, since a filter that makes a request wait goes on behind its whole place.
pub(crate) fn gather_orders() -> (&'static str, Any) {
    let gather = TypedExtensionConfig {
        name: "envoy.filters.http.buffer".to_owned(),
        typed_config: Some(any(&Buffer { max_request_bytes: Some(uint32(WHOLE_BODY)) })),
    };
    traffic::order(traffic::Place::Buffer, vec![gather])
}

fn key(name: &str) -> MetadataKey {
    MetadataKey { key: METADATA.to_owned(), path: vec![PathSegment { segment: Some(Segment::Key(name.to_owned())) }] }
}

fn policy(name: &str, config: Any) -> LoadBalancingPolicy {
    LoadBalancingPolicy {
        policies: vec![load_balancing_policy::Policy {
            typed_extension_config: Some(TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }),
        }],
    }
}

/// Whether the servers of a pool say how busy they are.
pub(super) fn by_load(pool: &ObjectId, view: &View<'_>) -> bool {
    view.object(pool).is_some_and(|pool| pool.meta.annotations.get(BY_LOAD).is_some_and(|on| on == "true"))
}

pub(super) fn balance(pool: &ObjectId, cluster: &mut Cluster, view: &View<'_>) {
    let own = if by_load(pool, view) {
        let weighted = ClientSideWeightedRoundRobin {
            // A server that has just started is not left alone for longer than it takes to hear from it.
            blackout_period: Some(seconds(1)),
            metric_names_for_computing_utilization: vec!["named_metrics.kv_cache_usage_perc".to_owned()],
            ..ClientSideWeightedRoundRobin::default()
        };
        policy("envoy.load_balancing_policies.client_side_weighted_round_robin", any(&weighted))
    } else {
        least_request()
    };
    let picked = view.spec::<InferencePoolSpec>(pool).is_some_and(|spec| spec.endpoint_picker.is_some());
    cluster.load_balancing_policy = Some(if picked {
        let chosen = OverrideHost {
            override_host_sources: vec![OverrideHostSource {
                metadata: Some(key(DESTINATION)),
                ..OverrideHostSource::default()
            }],
            selected_host_key: Some(key(SERVED)),
            fallback_policy: Some(own),
        };
        policy("envoy.load_balancing_policies.override_host", any(&chosen))
    } else {
        own
    });
}

/// The weights of backends that share a priority are those of their localities.
pub(super) fn weigh_localities(cluster: &mut Cluster) {
    let weighted = LeastRequest {
        locality_lb_config: Some(LocalityLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig::default(),
            )),
        }),
        ..LeastRequest::default()
    };
    cluster.load_balancing_policy = Some(policy("envoy.load_balancing_policies.least_request", any(&weighted)));
}

/// A picker that is away is known to be: Envoy lets a request pass without it only when it knows before the first bytes of
/// the body are on their way there.
fn watch(cluster: &mut Cluster) {
    let often = Some(seconds(1));
    cluster.health_checks = vec![HealthCheck {
        timeout: often,
        interval: often,
        no_traffic_interval: often,
        unhealthy_threshold: Some(uint32(1)),
        healthy_threshold: Some(uint32(1)),
        health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
        ..HealthCheck::default()
    }];
    cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold = Some(Percent { value: 0.0 });
}

/// Pickers show certificates that they made themselves, so that there is nothing to verify; one that says it speaks plain
/// HTTP/2 is taken at its word. `http2` says no such thing: the pickers' own charts have it beside TLS.
pub(super) fn complete_picker(id: &ClusterId, cluster: &mut Cluster, view: &View<'_>) {
    watch(cluster);
    if cluster.transport_socket.is_some() {
        return;
    }
    let service = view.spec::<Service>(&id.backend);
    let port = service.and_then(|service| service.spec.ports.iter().find(|port| Some(port.port) == id.port));
    let plain = port.and_then(|port| port.app_protocol.as_deref());
    if matches!(plain, Some("kubernetes.io/h2c" | "h2c" | "grpc")) {
        return;
    }
    let mut context = UpstreamTlsContext::default();
    context.common_tls_context.get_or_insert_default().alpn_protocols = vec!["h2".to_owned()];
    cluster.transport_socket = Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    });
}
