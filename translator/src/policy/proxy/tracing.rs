//! Traces: which requests, and to whom they are sent.

use kinds::FieldPath;
use kinds::envoy_gateway::{RequestId, Sampler, SamplerType, TracingProvider, TracingProviderType};
use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::config::trace::v3::tracing::{Http, http};
use xds_api::envoy::config::trace::v3::zipkin_config::CollectorEndpointVersion;
use xds_api::envoy::config::trace::v3::{DatadogConfig, OpenTelemetryConfig, ZipkinConfig};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, RequestIdExtension,
};
use xds_api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use xds_api::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::StaticConfigResourceDetectorConfig;
use xds_api::envoy::extensions::tracers::opentelemetry::samplers::v3::{
    AlwaysOnSamplerConfig, ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig,
};
use xds_api::envoy::r#type::v3::Percent;

use super::access_log::grpc_service;
use super::{Additions, Proxy};
use crate::policy::traffic::tracing as common;
use crate::render::build::{boolean, extension, millionths};

pub(super) fn apply(proxy: &Proxy<'_>, hcm: &mut HttpConnectionManager, additions: &mut Additions) {
    let Some(telemetry) = &proxy.spec.telemetry else { return };
    if let Some(id) = &telemetry.request_id {
        hcm.request_id_extension = request_id(id);
    }
    let Some(written) = &telemetry.tracing else { return };
    let Some(provider) = provider(proxy, &written.provider, additions) else { return };
    let shares = common(&written.tracing);
    let percent = |share: Option<xds_api::envoy::r#type::v3::FractionalPercent>| {
        share.map(|share| Percent { value: f64::from(share.numerator) / 10_000.0 })
    };
    hcm.tracing = Some(Tracing {
        client_sampling: percent(shares.client_sampling),
        random_sampling: percent(shares.random_sampling),
        overall_sampling: percent(shares.overall_sampling),
        custom_tags: shares.custom_tags,
        operation: shares.operation,
        upstream_operation: shares.upstream_operation,
        provider: Some(provider),
        spawn_upstream_span: Some(boolean(true)),
        ..Tracing::default()
    });
}

fn request_id(written: &RequestId) -> Option<RequestIdExtension> {
    let (pack, sample) = match written.tracing.as_deref()? {
        "Pack" => (true, false),
        "Sample" => (false, true),
        "Disable" => (false, false),
        _ => (true, true),
    };
    let config = UuidRequestIdConfig {
        pack_trace_reason: Some(boolean(pack)),
        use_request_id_for_trace_sampling: Some(boolean(sample)),
    };
    Some(RequestIdExtension { typed_config: Some(any(&config)) })
}

fn provider(proxy: &Proxy<'_>, written: &TracingProvider, additions: &mut Additions) -> Option<Http> {
    let path = FieldPath::from("spec.telemetry.tracing.provider");
    let host = written.host.as_deref().map(|host| (host, written.port.unwrap_or(4317)));
    let kind = written.kind.unwrap_or(TracingProviderType::OpenTelemetry);
    let grpc = kind == TracingProviderType::OpenTelemetry;
    let cluster = additions.cluster(proxy, &written.backends, host, &path, grpc)?;
    let service_name = written.service_name.as_ref().map_or_else(|| "envoy".to_owned(), ToString::to_string);
    let (name, config) = match kind {
        TracingProviderType::OpenTelemetry => {
            let more = written.open_telemetry.clone().unwrap_or_default();
            let attributes = more.resource_attributes.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let detector = (!more.resource_attributes.is_empty()).then(|| {
                let config = StaticConfigResourceDetectorConfig { attributes: attributes.collect() };
                extension("envoy.tracers.opentelemetry.resource_detectors.static_config", any(&config))
            });
            let config = OpenTelemetryConfig {
                grpc_service: Some(grpc_service(cluster, &more.headers)),
                service_name,
                resource_detectors: detector.into_iter().collect(),
                sampler: more.sampler.as_ref().map(sampler),
                ..OpenTelemetryConfig::default()
            };
            ("envoy.tracers.opentelemetry", any(&config))
        }
        TracingProviderType::Zipkin => {
            let more = written.zipkin.clone().unwrap_or_default();
            let config = ZipkinConfig {
                collector_cluster: cluster,
                collector_endpoint: "/api/v2/spans".to_owned(),
                trace_id_128bit: more.enable_128_bit_trace_id.unwrap_or(false),
                shared_span_context: Some(boolean(more.disable_shared_span_context != Some(true))),
                collector_endpoint_version: CollectorEndpointVersion::HttpJson as i32,
                ..ZipkinConfig::default()
            };
            ("envoy.tracers.zipkin", any(&config))
        }
        TracingProviderType::Datadog => {
            let config = DatadogConfig { collector_cluster: cluster, service_name, ..DatadogConfig::default() };
            ("envoy.tracers.datadog", any(&config))
        }
    };
    Some(Http { name: name.to_owned(), config_type: Some(http::ConfigType::TypedConfig(config)) })
}

fn sampler(written: &Sampler) -> TypedExtensionConfig {
    let share =
        written.sampling_percentage.as_ref().map_or(1_000_000, kinds::envoy_gateway::shared::Fraction::millionths);
    let ratio = |share| {
        let config = TraceIdRatioBasedSamplerConfig { sampling_percentage: Some(millionths(share)) };
        extension("envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", any(&config))
    };
    let always = || extension("envoy.tracers.opentelemetry.samplers.always_on", any(&AlwaysOnSamplerConfig {}));
    let by_parent = |wrapped| {
        let config = ParentBasedSamplerConfig { wrapped_sampler: Some(wrapped) };
        extension("envoy.tracers.opentelemetry.samplers.parent_based", any(&config))
    };
    match written.kind.unwrap_or(SamplerType::AlwaysOn) {
        SamplerType::AlwaysOn => always(),
        SamplerType::AlwaysOff => ratio(0),
        SamplerType::TraceIdRatio => ratio(share),
        SamplerType::ParentBasedAlwaysOn => by_parent(always()),
        SamplerType::ParentBasedAlwaysOff => by_parent(ratio(0)),
        SamplerType::ParentBasedTraceIdRatio => by_parent(ratio(share)),
    }
}
