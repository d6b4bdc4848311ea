//! Whether endpoints are well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinds::FieldPath;
use kinds::envoy_gateway::shared::{
    ActiveHealthCheck, HealthCheck, HealthCheckLog, HealthCheckType, PassiveHealthCheck, Payload,
};
use xds_api::any;
use xds_api::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use xds_api::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload as EnvoyPayload, TcpHealthCheck, payload,
};
use xds_api::envoy::config::core::v3::{HealthCheck as EnvoyHealthCheck, RequestMethod, TypedExtensionConfig};
use xds_api::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use xds_api::envoy::r#type::v3::{Int64Range, Percent};

use crate::policy::Problem;
use crate::render::build::{boolean, duration, extension, seconds, uint32};

pub(super) fn problems(written: &HealthCheck, path: &FieldPath) -> Vec<Problem> {
    let mut found = Vec::new();
    let Some(active) = &written.active else { return found };
    let path = path.field("active");
    if checker(active).is_none() {
        found.push(Problem::wrong(path.field("type"), "the check says neither http, tcp nor grpc"));
    }
    let http = active.http.as_ref();
    let tcp = active.tcp.as_ref();
    let payloads = [
        ("http.expectedResponse", http.and_then(|http| http.expected_response.as_ref())),
        ("http.requestBody", http.and_then(|http| http.request_body.as_ref())),
        ("tcp.send", tcp.and_then(|tcp| tcp.send.as_ref())),
        ("tcp.receive", tcp.and_then(|tcp| tcp.receive.as_ref())),
    ];
    for (field, content) in payloads {
        if content.is_some_and(|content| payload(content).is_none()) {
            found.push(Problem::wrong(path.field(field), "neither a text nor base64"));
        }
    }
    found
}

pub(super) fn apply(written: &HealthCheck, cluster: &mut Cluster) {
    if let Some(active) = &written.active {
        cluster.health_checks.extend(self::active(active));
    }
    cluster.outlier_detection = written.passive.as_ref().map(passive);
    if let Some(percent) = written.panic_threshold {
        cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold =
            Some(Percent { value: f64::from(percent) });
    }
}

fn active(written: &ActiveHealthCheck) -> Option<EnvoyHealthCheck> {
    let log = written.health_check_log.as_ref();
    let logs = |word: &str| log.is_some_and(|log| log.matches.iter().any(|written| written == word));
    Some(EnvoyHealthCheck {
        timeout: Some(written.timeout.map_or(seconds(1), |time| duration(time.0))),
        interval: Some(written.interval.map_or(seconds(3), |time| duration(time.0))),
        initial_jitter: written.initial_jitter.map(|time| duration(time.0)),
        unhealthy_threshold: Some(uint32(written.unhealthy_threshold.unwrap_or(3))),
        healthy_threshold: Some(uint32(written.healthy_threshold.unwrap_or(1))),
        alt_port: written.overrides.as_ref().and_then(|overrides| overrides.port).map(|port| uint32(u32::from(port))),
        health_checker: Some(checker(written)?),
        event_logger: log.map(event_sinks).unwrap_or_default(),
        always_log_health_check_failures: logs("Failure"),
        always_log_health_check_success: logs("Success"),
        ..EnvoyHealthCheck::default()
    })
}

pub(crate) fn event_sinks(written: &HealthCheckLog) -> Vec<TypedExtensionConfig> {
    let files = written.sinks.iter().filter_map(|sink| sink.file.as_ref());
    let sink = |file: &kinds::envoy_gateway::shared::LogFile| {
        let path = file.path.as_deref().unwrap_or("/dev/stdout").to_owned();
        extension("envoy.health_check.event_sink.file", any(&HealthCheckEventFileSink { event_log_path: path }))
    };
    files.map(sink).collect()
}

fn checker(written: &ActiveHealthCheck) -> Option<HealthChecker> {
    let ranges = |statuses: &[u32]| {
        let range = |status: &u32| Int64Range { start: i64::from(*status), end: i64::from(*status) + 1 };
        statuses.iter().map(range).collect::<Vec<_>>()
    };
    Some(match written.kind {
        Some(HealthCheckType::Grpc) => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: written
                .grpc
                .as_ref()
                .and_then(|grpc| grpc.service.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            ..GrpcHealthCheck::default()
        }),
        Some(HealthCheckType::Tcp) => {
            let tcp = written.tcp.clone().unwrap_or_default();
            HealthChecker::TcpHealthCheck(TcpHealthCheck {
                send: tcp.send.as_ref().and_then(payload),
                receive: tcp.receive.as_ref().and_then(payload).into_iter().collect(),
                ..TcpHealthCheck::default()
            })
        }
        Some(HealthCheckType::Http) | None => {
            let http = written.http.as_ref()?;
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                host: http.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
                path: http.path.to_string(),
                send: http.request_body.as_ref().and_then(payload),
                receive: http.expected_response.as_ref().and_then(payload).into_iter().collect(),
                expected_statuses: ranges(&http.expected_statuses),
                retriable_statuses: ranges(&http.retriable_statuses),
                method: method(http.method.as_deref().unwrap_or("GET")) as i32,
                ..HttpHealthCheck::default()
            })
        }
    })
}

fn method(name: &str) -> RequestMethod {
    RequestMethod::from_str_name(&name.to_ascii_uppercase()).unwrap_or(RequestMethod::Get)
}

/// Envoy takes a text in hexadecimal and, apart from it, bytes.
fn payload(written: &Payload) -> Option<EnvoyPayload> {
    let content = match (&written.text, &written.binary) {
        (Some(text), _) => payload::Payload::Binary(text.clone().into_bytes()),
        (None, Some(binary)) => payload::Payload::Binary(STANDARD.decode(binary).ok()?),
        (None, None) => return None,
    };
    Some(EnvoyPayload { payload: Some(content) })
}

fn passive(written: &PassiveHealthCheck) -> OutlierDetection {
    let never = Some(uint32(0));
    OutlierDetection {
        consecutive_5xx: Some(uint32(written.consecutive_5xx_errors.unwrap_or(5))),
        interval: Some(written.interval.map_or(seconds(3), |time| duration(time.0))),
        base_ejection_time: Some(written.base_ejection_time.map_or(seconds(30), |time| duration(time.0))),
        max_ejection_percent: Some(uint32(written.max_ejection_percent.unwrap_or(10))),
        enforcing_success_rate: never,
        enforcing_local_origin_success_rate: never,
        consecutive_gateway_failure: written.consecutive_gateway_errors.map(uint32),
        enforcing_consecutive_gateway_failure: written.consecutive_gateway_errors.map(|_| uint32(100)),
        split_external_local_origin_errors: written.split_external_local_origin_errors.unwrap_or(false),
        consecutive_local_origin_failure: Some(uint32(written.consecutive_local_origin_failures.unwrap_or(5))),
        failure_percentage_threshold: written.failure_percentage_threshold.map(uint32),
        enforcing_failure_percentage: written.failure_percentage_threshold.map(|_| uint32(100)),
        enforcing_failure_percentage_local_origin: written
            .failure_percentage_threshold
            .filter(|_| written.split_external_local_origin_errors == Some(true))
            .map(|_| uint32(100)),
        always_eject_one_host: written.always_eject_one_endpoint.map(boolean),
        ..OutlierDetection::default()
    }
}
