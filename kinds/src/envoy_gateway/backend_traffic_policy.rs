//! BackendTrafficPolicy: how requests to backends behave.

use smol_str::SmolStr;

use super::shared::*;
use super::{MergeType, RateLimitSpec};
use crate::gateway::Duration;

records! {
    BackendTrafficPolicySpec {
        #[serde(flatten)]
        targets: PolicyTargets,
        merge_type: Option<MergeType>,
        #[serde(flatten)]
        cluster: ClusterSettings,
        rate_limit: Option<RateLimitSpec>,
        fault_injection: Option<FaultInjection>,
        use_client_protocol: Option<bool>,
        compression: Vec<Compression>,
        compressor: Vec<Compression>,
        response_override: Vec<ResponseOverride>,
        http_upgrade: Vec<HttpUpgrade>,
        request_buffer: Option<RequestBuffer>,
        bandwidth_limit: Option<BandwidthLimit>,
        admission_control: Option<AdmissionControl>,
        telemetry: Option<BackendTelemetry>,
        routing_type: Option<SmolStr>,
    }

    FaultInjection {
        delay: Option<FaultDelay>,
        abort: Option<FaultAbort>,
    }

    FaultDelay {
        fixed_delay: Option<Duration>,
        percentage: Option<f64>,
    }

    FaultAbort {
        http_status: Option<u32>,
        grpc_status: Option<u32>,
        percentage: Option<f64>,
    }

    Compression {
        #[serde(rename = "type")]
        kind: Option<CompressionType>,
        gzip: Option<Empty>,
        brotli: Option<Empty>,
        zstd: Option<Empty>,
        min_content_length: Option<Quantity>,
    }

    ResponseOverride {
        #[serde(rename = "match")]
        matches: ResponseMatch,
        source: Option<ResponseSource>,
        response: Option<CustomResponse>,
        redirect: Option<CustomRedirect>,
    }

    ResponseMatch {
        status_codes: Vec<StatusCodeMatch>,
        response_headers: Vec<ResponseHeaderMatch>,
    }

    StatusCodeMatch {
        #[serde(rename = "type")]
        kind: Option<SmolStr>,
        value: Option<u32>,
        range: Option<StatusCodeRange>,
    }

    StatusCodeRange {
        start: u32,
        end: u32,
    }

    ResponseHeaderMatch {
        name: SmolStr,
        value: StringMatch,
    }

    CustomResponse {
        content_type: Option<SmolStr>,
        body: Option<CustomBody>,
        status_code: Option<u32>,
        header: Option<HeaderEdits>,
    }

    CustomBody {
        #[serde(rename = "type")]
        kind: Option<SmolStr>,
        inline: Option<String>,
        value_ref: Option<ValueRef>,
    }

    CustomRedirect {
        scheme: Option<SmolStr>,
        hostname: Option<SmolStr>,
        port: Option<u32>,
        path: Option<RedirectPath>,
        status_code: Option<u32>,
    }

    RedirectPath {
        #[serde(rename = "type")]
        kind: SmolStr,
        replace_full_path: Option<SmolStr>,
        replace_prefix_match: Option<SmolStr>,
    }

    HttpUpgrade {
        #[serde(rename = "type")]
        kind: SmolStr,
        connect: Option<ConnectUpgrade>,
    }

    ConnectUpgrade {
        terminate: Option<bool>,
    }

    RequestBuffer {
        limit: Option<Quantity>,
    }

    BandwidthLimit {
        request: Option<Bandwidth>,
        response: Option<Bandwidth>,
    }

    Bandwidth {
        limit: BandwidthRate,
        response_trailers: Option<BandwidthTrailers>,
    }

    BandwidthRate {
        value: Option<Quantity>,
        unit: Option<BandwidthUnit>,
    }

    BandwidthTrailers {
        prefix: Option<SmolStr>,
    }

    AdmissionControl {
        sampling_window: Option<Duration>,
        min_success_rate: Option<u32>,
        rejection_aggression: Option<u32>,
        min_request_rate: Option<u32>,
        max_rejection_percent: Option<u32>,
        success_criteria: Option<SuccessCriteria>,
    }

    SuccessCriteria {
        http: Option<HttpSuccess>,
        grpc: Option<GrpcSuccess>,
    }

    HttpSuccess {
        status_codes: Vec<u32>,
    }

    GrpcSuccess {
        status_codes: Vec<SmolStr>,
    }

    BackendTelemetry {
        tracing: Option<Tracing>,
        metrics: Option<BackendMetrics>,
    }

    BackendMetrics {
        route_stat_name: Option<SmolStr>,
    }
}

words! {
    CompressionType { Gzip, Brotli, Zstd, }

    ResponseSource { All, Local, Backend, }

    BandwidthUnit { Second, Minute, Hour, }
}
