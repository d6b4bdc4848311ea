//! The filters that a traffic policy puts before its routes.

use kinds::FieldPath;
use kinds::envoy_gateway::{Bandwidth, BandwidthUnit, Compression, CompressionType, FaultInjection};
use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use xds_api::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use xds_api::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use xds_api::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use xds_api::envoy::extensions::filters::http::bandwidth_limit::v3::BandwidthLimit;
use xds_api::envoy::extensions::filters::http::bandwidth_limit::v3::bandwidth_limit::EnableMode;
use xds_api::envoy::extensions::filters::http::buffer::v3::Buffer;
use xds_api::envoy::extensions::filters::http::compressor::v3::Compressor;
use xds_api::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use xds_api::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use xds_api::envoy::r#type::v3::FractionalPercent;
use xds_api::google::protobuf::{Any, UInt64Value};

use super::{Policy, response_override};
use crate::policy::Problem;
use crate::render::build::{duration, extension, millionths, uint32};
use crate::render::filters::traffic::{self, Place};

/// The orders of a policy for the filters before its routes.
pub(super) fn orders(policy: &Policy<'_>) -> Result<Vec<(&'static str, Any)>, Problem> {
    let spec = &policy.spec;
    let mut orders = Vec::new();
    if !spec.response_override.is_empty() {
        orders.push(traffic::order(Place::Answers, vec![response_override::filter(policy)?]));
    }
    if let Some(written) = &spec.fault_injection {
        orders.push((traffic::FAULT, any(&fault(written))));
    }
    if let Some(limit) = spec.request_buffer.as_ref().and_then(|buffer| buffer.limit) {
        let buffer = Buffer { max_request_bytes: Some(uint32(limit.to_u32())) };
        orders.push(traffic::order(Place::Buffer, vec![extension("envoy.filters.http.buffer", any(&buffer))]));
    }
    if let Some(limits) = &spec.bandwidth_limit {
        let base = FieldPath::from("spec.bandwidthLimit");
        if let Some(written) = &limits.request {
            let filter = bandwidth(written, EnableMode::Request, "request", &base.field("request"))?;
            orders.push(traffic::order(Place::RequestBandwidth, vec![filter]));
        }
        if let Some(written) = &limits.response {
            let filter = bandwidth(written, EnableMode::Response, "response", &base.field("response"))?;
            orders.push(traffic::order(Place::ResponseBandwidth, vec![filter]));
        }
    }
    let compressors = if spec.compressor.is_empty() { &spec.compression } else { &spec.compressor };
    let compressors = compressors.iter().enumerate().filter_map(|(index, written)| compressor(written, index == 0));
    let compressors: Vec<_> = compressors.collect();
    if !compressors.is_empty() {
        orders.push(traffic::order(Place::Compression, compressors));
    }
    Ok(orders)
}

fn fault(written: &FaultInjection) -> HttpFault {
    HttpFault {
        delay: written.delay.as_ref().and_then(|delay| {
            Some(FaultDelay {
                fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(delay.fixed_delay?.0))),
                percentage: Some(share(delay.percentage)),
            })
        }),
        abort: written.abort.as_ref().map(|abort| FaultAbort {
            error_type: match (abort.http_status, abort.grpc_status) {
                (Some(status), _) => Some(ErrorType::HttpStatus(status)),
                (None, Some(status)) => Some(ErrorType::GrpcStatus(status)),
                (None, None) => None,
            },
            percentage: Some(share(abort.percentage)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

/// Percent, in millionths; all, where nothing is said.
fn share(percent: Option<f64>) -> FractionalPercent {
    let parts = (percent.unwrap_or(100.0).clamp(0.0, 100.0) * 10_000.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 and a million")]
    millionths(parts as u32)
}

fn bandwidth(
    written: &Bandwidth,
    mode: EnableMode,
    name: &str,
    path: &FieldPath,
) -> Result<TypedExtensionConfig, Problem> {
    let seconds = match written.limit.unit {
        Some(BandwidthUnit::Hour) => 3600,
        Some(BandwidthUnit::Minute) => 60,
        Some(BandwidthUnit::Second) | None => 1,
    };
    let Some(value) = written.limit.value.filter(|value| value.0 > 0) else {
        return Err(Problem::wrong(path.field("limit").field("value"), "no amount is let through"));
    };
    // Envoy counts in KiB a second, and lets nothing through at less than one.
    let limit = BandwidthLimit {
        stat_prefix: format!("bandwidth_{name}"),
        enable_mode: mode as i32,
        limit_kbps: Some(UInt64Value { value: (value.0 / seconds / 1024).max(1) }),
        enable_response_trailers: written.response_trailers.is_some(),
        response_trailer_prefix: written
            .response_trailers
            .as_ref()
            .and_then(|trailers| trailers.prefix.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..BandwidthLimit::default()
    };
    Ok(extension("envoy.filters.http.bandwidth_limit", any(&limit)))
}

fn compressor_library(kind: CompressionType) -> TypedExtensionConfig {
    match kind {
        CompressionType::Gzip => extension("envoy.compression.gzip.compressor", any(&Gzip::default())),
        CompressionType::Brotli => extension("envoy.compression.brotli.compressor", any(&Brotli::default())),
        CompressionType::Zstd => extension("envoy.compression.zstd.compressor", any(&Zstd::default())),
    }
}

fn compressor(written: &Compression, choose_first: bool) -> Option<TypedExtensionConfig> {
    let kind = written.kind?;
    let name = match kind {
        CompressionType::Gzip => "envoy.filters.http.compressor.gzip",
        CompressionType::Brotli => "envoy.filters.http.compressor.brotli",
        CompressionType::Zstd => "envoy.filters.http.compressor.zstd",
    };
    let compressor = Compressor {
        compressor_library: Some(compressor_library(kind)),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: written.min_content_length.map(|length| CommonDirectionConfig {
                min_content_length: Some(uint32(length.to_u32())),
                ..CommonDirectionConfig::default()
            }),
            ..ResponseDirectionConfig::default()
        }),
        choose_first,
        ..Compressor::default()
    };
    Some(extension(name, any(&compressor)))
}
