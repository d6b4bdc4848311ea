//! Whether endpoints are well: by asking them, and by watching their answers.

use smol_str::SmolStr;

use super::{records, words};
use crate::gateway::Duration;

records! {
    HealthCheck {
        active: Option<ActiveHealthCheck>,
        passive: Option<PassiveHealthCheck>,
        panic_threshold: Option<u32>,
    }

    ActiveHealthCheck {
        #[serde(rename = "type")]
        kind: Option<HealthCheckType>,
        timeout: Option<Duration>,
        interval: Option<Duration>,
        initial_jitter: Option<Duration>,
        unhealthy_threshold: Option<u32>,
        healthy_threshold: Option<u32>,
        http: Option<HttpHealthCheck>,
        tcp: Option<TcpHealthCheck>,
        grpc: Option<GrpcHealthCheck>,
        overrides: Option<HealthCheckOverrides>,
        health_check_log: Option<HealthCheckLog>,
    }

    HttpHealthCheck {
        path: SmolStr,
        hostname: Option<SmolStr>,
        method: Option<SmolStr>,
        expected_statuses: Vec<u32>,
        retriable_statuses: Vec<u32>,
        expected_response: Option<Payload>,
        request_body: Option<Payload>,
    }

    TcpHealthCheck {
        send: Option<Payload>,
        receive: Option<Payload>,
    }

    GrpcHealthCheck {
        service: Option<SmolStr>,
    }

    Payload {
        #[serde(rename = "type")]
        kind: SmolStr,
        text: Option<String>,
        /// In base64.
        binary: Option<String>,
    }

    HealthCheckOverrides {
        port: Option<u16>,
    }

    HealthCheckLog {
        sinks: Vec<HealthCheckLogSink>,
        matches: Vec<SmolStr>,
    }

    HealthCheckLogSink {
        #[serde(rename = "type")]
        kind: SmolStr,
        file: Option<LogFile>,
    }

    LogFile {
        path: Option<SmolStr>,
    }

    PassiveHealthCheck {
        split_external_local_origin_errors: Option<bool>,
        interval: Option<Duration>,
        consecutive_local_origin_failures: Option<u32>,
        consecutive_gateway_errors: Option<u32>,
        #[serde(rename = "consecutive5XxErrors")]
        consecutive_5xx_errors: Option<u32>,
        base_ejection_time: Option<Duration>,
        max_ejection_percent: Option<u32>,
        failure_percentage_threshold: Option<u32>,
        always_eject_one_endpoint: Option<bool>,
    }
}

words! {
    HealthCheckType {
        #[serde(rename = "HTTP")]
        Http,
        #[serde(rename = "TCP")]
        Tcp,
        #[serde(rename = "GRPC")]
        Grpc,
    }
}
