//! Access logs: to files, to gRPC services, to OpenTelemetry collectors.

use std::collections::BTreeMap;

use kinds::FieldPath;
use kinds::envoy_gateway::shared::HeaderPair;
use kinds::envoy_gateway::{
    AccessLogFormat, AccessLogFormatType, AccessLogSink, AccessLogType, GrpcAccessLog, GrpcAccessLogType,
    OpenTelemetrySink,
};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::accesslog::v3::access_log::ConfigType;
use xds_api::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use xds_api::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ExtensionFilter, ResponseFlagFilter, extension_filter,
};
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::substitution_format_string::Format;
use xds_api::envoy::config::core::v3::{ApiVersion, GrpcService, HeaderValue, SubstitutionFormatString};
use xds_api::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use xds_api::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use xds_api::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use xds_api::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use xds_api::google::protobuf::{Struct, Value, value};
use xds_api::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};

use super::{Additions, Proxy};
use crate::policy::Problem;
use crate::render::build::text;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Listener,
    Route,
}

const DEFAULT_FORMAT: [(&str, &str); 17] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("x-envoy-origin-path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("x-forwarded-for", "%REQ(X-FORWARDED-FOR)%"),
    ("user-agent", "%REQ(USER-AGENT)%"),
    ("x-request-id", "%REQ(X-REQUEST-ID)%"),
    (":authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("route_name", "%ROUTE_NAME%"),
];

pub(super) fn of(proxy: &Proxy<'_>, level: Level, additions: &mut Additions) -> Vec<AccessLog> {
    let Some(log) = proxy.spec.telemetry.as_ref().and_then(|telemetry| telemetry.access_log.as_ref()) else {
        return Vec::new();
    };
    if log.disable == Some(true) {
        return Vec::new();
    }
    let base = FieldPath::from("spec.telemetry.accessLog.settings");
    let mut logs = Vec::new();
    for (index, settings) in log.settings.iter().enumerate() {
        let path = base.index(index);
        // Where nothing is said, a listener logs the connections for which it had no filter chain.
        let unrouted = settings.kind.is_none() && level == Level::Listener;
        match (settings.kind, level) {
            (Some(AccessLogType::Listener), Level::Route) | (Some(AccessLogType::Route), Level::Listener) => continue,
            (Some(AccessLogType::Upstream), _) => {
                let message = "what is sent upstream is not logged apart: log the route";
                additions.problems.push(Problem::unsupported(path.field("type"), message));
                continue;
            }
            _ => {}
        }
        let filter = filter(&settings.matches, unrouted);
        for (index, sink) in settings.sinks.iter().enumerate() {
            let path = path.field("sinks").index(index);
            if let Some(config) = self::sink(proxy, sink, settings.format.as_ref(), &path, additions) {
                logs.push(AccessLog { filter: filter.clone(), ..config });
            }
        }
    }
    logs
}

fn filter(expressions: &[SmolStr], unrouted: bool) -> Option<AccessLogFilter> {
    let of = |specifier| AccessLogFilter { filter_specifier: Some(specifier) };
    let mut filters: Vec<_> = expressions
        .iter()
        .map(|expression| {
            of(FilterSpecifier::ExtensionFilter(ExtensionFilter {
                name: "envoy.access_loggers.extension_filters.cel".to_owned(),
                config_type: Some(extension_filter::ConfigType::TypedConfig(any(&ExpressionFilter {
                    expression: expression.to_string(),
                    ..ExpressionFilter::default()
                }))),
            }))
        })
        .collect();
    if unrouted {
        let flags = vec!["NR".to_owned()];
        filters.push(of(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags })));
    }
    if filters.len() > 1 { Some(of(FilterSpecifier::AndFilter(AndFilter { filters }))) } else { filters.pop() }
}

fn sink(
    proxy: &Proxy<'_>,
    sink: &AccessLogSink,
    format: Option<&AccessLogFormat>,
    path: &FieldPath,
    additions: &mut Additions,
) -> Option<AccessLog> {
    let named = |name: &str, config| AccessLog {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..AccessLog::default()
    };
    if let Some(file) = &sink.file {
        let config = FileAccessLog {
            path: file.path.as_deref().unwrap_or("/dev/stdout").to_owned(),
            access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(file_format(format))),
        };
        return Some(named("envoy.access_loggers.file", any(&config)));
    }
    if let Some(als) = &sink.als {
        let cluster = additions.cluster(proxy, &als.backends, None, &path.field("als"), true)?;
        return Some(grpc(als, cluster, named));
    }
    let otel = sink.open_telemetry.as_ref()?;
    let path = path.field("openTelemetry");
    let host = otel.host.as_deref().map(|host| (host, otel.port.unwrap_or(4317)));
    let cluster = additions.cluster(proxy, &otel.backends, host, &path, true)?;
    Some(named("envoy.access_loggers.open_telemetry", any(&open_telemetry(otel, format, cluster))))
}

fn file_format(format: Option<&AccessLogFormat>) -> SubstitutionFormatString {
    let by_text = format.filter(|format| format.kind == Some(AccessLogFormatType::Text) || format.json.is_empty());
    let format = match (by_text.and_then(|format| format.text.as_ref()), format) {
        (Some(line), _) => {
            // A line of a file ends.
            let line = if line.ends_with('\n') { line.to_string() } else { format!("{line}\n") };
            Format::TextFormatSource(text(line))
        }
        (None, Some(format)) if !format.json.is_empty() => Format::JsonFormat(entries(&format.json)),
        _ => {
            let usual = DEFAULT_FORMAT.map(|(name, value)| (SmolStr::new(name), SmolStr::new(value)));
            Format::JsonFormat(entries(&usual.into_iter().collect()))
        }
    };
    SubstitutionFormatString { format: Some(format), ..SubstitutionFormatString::default() }
}

fn entries(written: &BTreeMap<SmolStr, SmolStr>) -> Struct {
    let value = |text: &SmolStr| Value { kind: Some(value::Kind::StringValue(text.to_string())) };
    Struct { fields: written.iter().map(|(name, text)| (name.to_string(), value(text))).collect() }
}

pub(super) fn grpc_service(cluster_name: String, headers: &[HeaderPair]) -> GrpcService {
    let metadata = headers.iter().map(|pair| HeaderValue {
        key: pair.name.to_ascii_lowercase(),
        value: pair.value.to_string(),
        ..HeaderValue::default()
    });
    GrpcService {
        initial_metadata: metadata.collect(),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc { cluster_name, ..EnvoyGrpc::default() })),
        ..GrpcService::default()
    }
}

fn grpc(
    written: &GrpcAccessLog,
    cluster: String,
    named: impl Fn(&str, xds_api::google::protobuf::Any) -> AccessLog,
) -> AccessLog {
    let common = CommonGrpcAccessLogConfig {
        log_name: written.log_name.as_deref().unwrap_or("access").to_owned(),
        grpc_service: Some(grpc_service(cluster, &[])),
        transport_api_version: ApiVersion::V3 as i32,
        ..CommonGrpcAccessLogConfig::default()
    };
    if written.kind == Some(GrpcAccessLogType::Tcp) {
        return named("envoy.access_loggers.tcp_grpc", any(&TcpGrpcAccessLogConfig { common_config: Some(common) }));
    }
    let http = written.http.clone().unwrap_or_default();
    let names = |names: Vec<SmolStr>| names.iter().map(ToString::to_string).collect();
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(common),
        additional_request_headers_to_log: names(http.request_headers),
        additional_response_headers_to_log: names(http.response_headers),
        additional_response_trailers_to_log: names(http.response_trailers),
    };
    named("envoy.access_loggers.http_grpc", any(&config))
}

fn open_telemetry(
    written: &OpenTelemetrySink,
    format: Option<&AccessLogFormat>,
    cluster: String,
) -> OpenTelemetryAccessLogConfig {
    let string = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
    let pair = |(name, text): (&SmolStr, &SmolStr)| KeyValue { key: name.to_string(), value: Some(string(text)) };
    let resources = written.resources.iter().chain(&written.resource_attributes).map(pair);
    let body = format.and_then(|format| format.text.as_ref());
    let attributes = format.map(|format| format.json.iter().map(pair).collect::<Vec<_>>()).unwrap_or_default();
    OpenTelemetryAccessLogConfig {
        grpc_service: Some(grpc_service(cluster, &written.headers)),
        log_name: "access".to_owned(),
        resource_attributes: Some(KeyValueList { values: resources.collect() }),
        body: body.map(|text| string(text)),
        attributes: (!attributes.is_empty()).then_some(KeyValueList { values: attributes }),
        ..OpenTelemetryAccessLogConfig::default()
    }
}
