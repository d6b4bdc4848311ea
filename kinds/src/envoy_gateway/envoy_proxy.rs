//! EnvoyProxy: how the proxies of a Gateway run.

use std::collections::BTreeMap;

use serde_json::Value;
use smol_str::SmolStr;

use super::shared::*;
use super::{Compression, MergeType};
use crate::gateway::{Duration, LabelSelector};

records! {
    EnvoyProxySpec {
        merge_type: Option<MergeType>,
        /// How proxies are deployed, which is whoever deploys them's to read.
        provider: Option<Value>,
        logging: Option<Value>,
        telemetry: Option<ProxyTelemetry>,
        bootstrap: Option<Value>,
        concurrency: Option<u32>,
        routing_type: Option<SmolStr>,
        extra_args: Vec<SmolStr>,
        merge_gateways: Option<bool>,
        merge_backends: Option<MergeBackends>,
        shutdown: Option<Shutdown>,
        filter_order: Vec<FilterOrder>,
        #[serde(rename = "backendTLS")]
        backend_tls: Option<ProxyBackendTls>,
        ip_family: Option<SmolStr>,
        preserve_route_order: Option<bool>,
        lua_validation: Option<SmolStr>,
        lua: Option<Value>,
        dynamic_modules: Vec<Value>,
        #[serde(rename = "geoIP")]
        geo_ip: Option<Value>,
    }

    MergeBackends {
        selector: Option<LabelSelector>,
    }

    Shutdown {
        drain_timeout: Option<Duration>,
        min_drain_duration: Option<Duration>,
        health_check_failure_delay: Option<Duration>,
    }

    FilterOrder {
        name: SmolStr,
        before: Option<SmolStr>,
        after: Option<SmolStr>,
    }

    ProxyBackendTls {
        client_certificate_ref: Option<SecretRef>,
        #[serde(flatten)]
        parameters: TlsParameters,
    }

    ProxyTelemetry {
        access_log: Option<AccessLog>,
        tracing: Option<ProxyTracing>,
        metrics: Option<ProxyMetrics>,
        #[serde(rename = "requestID")]
        request_id: Option<RequestId>,
        health_check_log: Option<HealthCheckLog>,
    }

    RequestId {
        tracing: Option<SmolStr>,
    }

    AccessLog {
        disable: Option<bool>,
        settings: Vec<AccessLogSettings>,
    }

    AccessLogSettings {
        format: Option<AccessLogFormat>,
        matches: Vec<SmolStr>,
        sinks: Vec<AccessLogSink>,
        #[serde(rename = "type")]
        kind: Option<AccessLogType>,
    }

    AccessLogFormat {
        #[serde(rename = "type")]
        kind: Option<AccessLogFormatType>,
        text: Option<SmolStr>,
        json: BTreeMap<SmolStr, SmolStr>,
    }

    AccessLogSink {
        #[serde(rename = "type")]
        kind: Option<AccessLogSinkType>,
        als: Option<GrpcAccessLog>,
        file: Option<LogFile>,
        open_telemetry: Option<OpenTelemetrySink>,
    }

    GrpcAccessLog {
        #[serde(flatten)]
        backends: ExtensionBackends,
        log_name: Option<SmolStr>,
        #[serde(rename = "type")]
        kind: Option<GrpcAccessLogType>,
        http: Option<GrpcAccessLogHttp>,
    }

    GrpcAccessLogHttp {
        request_headers: Vec<SmolStr>,
        response_headers: Vec<SmolStr>,
        response_trailers: Vec<SmolStr>,
    }

    OpenTelemetrySink {
        #[serde(flatten)]
        backends: ExtensionBackends,
        host: Option<SmolStr>,
        port: Option<u16>,
        resources: BTreeMap<SmolStr, SmolStr>,
        resource_attributes: BTreeMap<SmolStr, SmolStr>,
        headers: Vec<HeaderPair>,
        report_counters_as_deltas: Option<bool>,
        report_histograms_as_deltas: Option<bool>,
    }

    ProxyTracing {
        #[serde(flatten)]
        tracing: Tracing,
        provider: TracingProvider,
    }

    TracingProvider {
        #[serde(rename = "type")]
        kind: Option<TracingProviderType>,
        #[serde(flatten)]
        backends: ExtensionBackends,
        host: Option<SmolStr>,
        port: Option<u16>,
        service_name: Option<SmolStr>,
        zipkin: Option<Zipkin>,
        open_telemetry: Option<OpenTelemetryTracing>,
    }

    Zipkin {
        enable_128_bit_trace_id: Option<bool>,
        disable_shared_span_context: Option<bool>,
    }

    OpenTelemetryTracing {
        headers: Vec<HeaderPair>,
        resource_attributes: BTreeMap<SmolStr, SmolStr>,
        sampler: Option<Sampler>,
    }

    Sampler {
        #[serde(rename = "type")]
        kind: Option<SamplerType>,
        sampling_percentage: Option<Fraction>,
    }

    ProxyMetrics {
        prometheus: Option<Prometheus>,
        sinks: Vec<MetricSink>,
        matches: Vec<StringMatch>,
        enable_virtual_host_stats: Option<bool>,
        enable_per_endpoint_stats: Option<bool>,
        enable_request_response_sizes_stats: Option<bool>,
        #[serde(rename = "enableGRPCStats")]
        enable_grpc_stats: Option<bool>,
        cluster_stat_name: Option<SmolStr>,
    }

    Prometheus {
        disable: Option<bool>,
        compression: Option<Compression>,
    }

    MetricSink {
        #[serde(rename = "type")]
        kind: Option<SmolStr>,
        open_telemetry: Option<OpenTelemetrySink>,
    }
}

words! {
    AccessLogType { Listener, Route, Upstream, }

    AccessLogFormatType {
        Text,
        #[serde(rename = "JSON")]
        Json,
    }

    AccessLogSinkType {
        #[serde(rename = "ALS")]
        Grpc,
        File,
        OpenTelemetry,
    }

    GrpcAccessLogType {
        #[serde(rename = "HTTP")]
        Http,
        #[serde(rename = "TCP")]
        Tcp,
    }

    TracingProviderType { OpenTelemetry, Zipkin, Datadog, }

    SamplerType {
        AlwaysOn,
        AlwaysOff,
        TraceIdRatio,
        ParentBasedAlwaysOn,
        ParentBasedAlwaysOff,
        ParentBasedTraceIdRatio,
    }
}
