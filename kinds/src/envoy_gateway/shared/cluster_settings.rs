//! How connections to a backend behave, whoever opens them.

use smol_str::SmolStr;

use super::{Fraction, HealthCheck, LoadBalancer, Quantity, records, words};
use crate::gateway::Duration;

records! {
    ClusterSettings {
        load_balancer: Option<LoadBalancer>,
        retry: Option<Retry>,
        proxy_protocol: Option<ProxyProtocol>,
        tcp_keepalive: Option<TcpKeepalive>,
        health_check: Option<HealthCheck>,
        circuit_breaker: Option<CircuitBreaker>,
        timeout: Option<BackendTimeout>,
        connection: Option<BackendConnection>,
        dns: Option<Dns>,
        http2: Option<Http2Settings>,
    }

    Retry {
        num_retries: Option<u32>,
        num_attempts_per_priority: Option<i32>,
        retry_on: Option<RetryOn>,
        per_retry: Option<PerRetry>,
    }

    RetryOn {
        triggers: Vec<SmolStr>,
        http_status_codes: Vec<u32>,
    }

    PerRetry {
        timeout: Option<Duration>,
        back_off: Option<BackOff>,
    }

    BackOff {
        base_interval: Option<Duration>,
        max_interval: Option<Duration>,
    }

    ProxyProtocol {
        version: Option<ProxyProtocolVersion>,
    }

    TcpKeepalive {
        probes: Option<u32>,
        idle_time: Option<Duration>,
        interval: Option<Duration>,
    }

    CircuitBreaker {
        max_connections: Option<u32>,
        max_pending_requests: Option<u32>,
        max_parallel_requests: Option<u32>,
        max_parallel_retries: Option<u32>,
        max_requests_per_connection: Option<u32>,
        per_endpoint: Option<PerEndpointCircuitBreaker>,
        retry_budget: Option<RetryBudget>,
    }

    PerEndpointCircuitBreaker {
        max_connections: Option<u32>,
    }

    RetryBudget {
        percent: Fraction,
        min_retry_concurrency: Option<u32>,
    }

    BackendTimeout {
        tcp: Option<BackendTcpTimeout>,
        http: Option<BackendHttpTimeout>,
    }

    BackendTcpTimeout {
        connect_timeout: Option<Duration>,
    }

    BackendHttpTimeout {
        connection_idle_timeout: Option<Duration>,
        max_connection_duration: Option<Duration>,
        request_timeout: Option<Duration>,
        max_stream_duration: Option<Duration>,
        stream_idle_timeout: Option<Duration>,
    }

    BackendConnection {
        buffer_limit: Option<Quantity>,
        socket_buffer_limit: Option<Quantity>,
        preconnect: Option<Preconnect>,
    }

    Preconnect {
        per_endpoint_percent: Option<u32>,
        predictive_percent: Option<u32>,
    }

    Dns {
        dns_refresh_rate: Option<Duration>,
        respect_dns_ttl: Option<bool>,
        lookup_family: Option<DnsFamily>,
    }

    Http2Settings {
        initial_stream_window_size: Option<Quantity>,
        initial_connection_window_size: Option<Quantity>,
        max_concurrent_streams: Option<u32>,
        on_invalid_message: Option<InvalidMessageAction>,
        connection_keepalive: Option<Http2Keepalive>,
    }

    Http2Keepalive {
        interval: Option<Duration>,
        timeout: Option<Duration>,
        interval_jitter: Option<u32>,
        idle_interval: Option<Duration>,
    }
}

words! {
    ProxyProtocolVersion { V1, V2, }

    InvalidMessageAction { TerminateConnection, TerminateStream, }

    DnsFamily {
        #[serde(rename = "IPv4")]
        V4,
        #[serde(rename = "IPv6")]
        V6,
        #[serde(rename = "IPv4Preferred")]
        V4Preferred,
        #[serde(rename = "IPv6Preferred")]
        V6Preferred,
        #[serde(rename = "IPv4AndIPv6")]
        All,
    }
}
