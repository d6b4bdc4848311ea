//! What a policy says about HTTP towards clients.

use kinds::envoy_gateway::shared::HeaderEdits;
use kinds::envoy_gateway::{
    ClientIpDetection, ClientTrafficPolicySpec, EscapedSlashes, ForwardedClientCert, ForwardedClientCertMode,
    HeaderSettings, Http1Settings, RequestIdAction, SchemeTransform, UnderscoresAction,
};
use xds_api::any;
use xds_api::envoy::config::common::mutation_rules::v3::HeaderMutation;
use xds_api::envoy::config::common::mutation_rules::v3::header_mutation::{Action, RemoveOnMatch};
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use xds_api::envoy::config::core::v3::http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat};
use xds_api::envoy::config::core::v3::{Http1ProtocolOptions, HttpProtocolOptions, SchemeHeaderTransformation};
use xds_api::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use xds_api::envoy::extensions::filters::http::header_mutation::v3::{HeaderMutation as MutationFilter, Mutations};
use xds_api::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use xds_api::envoy::extensions::filters::http::router::v3::Router;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, SetCurrentClientCertDetails, StripPortMode,
};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::{HttpConnectionManager, HttpFilter};
use xds_api::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use xds_api::envoy::extensions::http::original_ip_detection::custom_header::v3::CustomHeaderConfig;
use xds_api::envoy::extensions::http::original_ip_detection::xff::v3::{XffConfig, XffTrustedCidrs};
use xds_api::envoy::r#type::v3::{HttpStatus, StatusCode};
use xds_api::google::protobuf::Any;

use crate::policy::security::cidr;
use crate::policy::traffic::{http2_options, string_match};
use crate::render::build::{boolean, duration, extension, header, uint32};
use crate::render::filters::limits;
use crate::routing::{exactly, literal, matching};

const ROUTER: &str = "envoy.filters.http.router";

pub(crate) fn apply(spec: &ClientTrafficPolicySpec, hcm: &mut HttpConnectionManager) {
    if let Some(detection) = &spec.client_ip_detection {
        client_ip(detection, hcm);
    }
    if let Some(path) = &spec.path {
        if let Some(action) = path.escaped_slashes_action {
            hcm.path_with_escaped_slashes_action = match action {
                EscapedSlashes::KeepUnchanged => PathWithEscapedSlashesAction::KeepUnchanged,
                EscapedSlashes::RejectRequest => PathWithEscapedSlashesAction::RejectRequest,
                EscapedSlashes::UnescapeAndForward => PathWithEscapedSlashesAction::UnescapeAndForward,
                EscapedSlashes::UnescapeAndRedirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
            } as i32;
        }
        hcm.merge_slashes = path.disable_merge_slashes != Some(true);
    }
    if let Some(headers) = &spec.headers {
        self::headers(headers, hcm);
    }
    if spec.headers.as_ref().is_some_and(|headers| headers.disable_rate_limit_headers == Some(true)) {
        for filter in &mut hcm.http_filters {
            if let Some(config) = limits::silent(&filter.name) {
                filter.config_type = Some(ConfigType::TypedConfig(config));
            }
        }
    }
    timeouts(spec, hcm);
    if let Some(http1) = &spec.http1 {
        hcm.http_protocol_options = Some(self::http1(http1));
        hcm.http1_safe_max_connection_duration = http1.disable_safe_max_connection_duration != Some(true);
    }
    if let Some(http2) = &spec.http2 {
        let mut options = http2_options(http2);
        let usual = hcm.http2_protocol_options.take().unwrap_or_default();
        options.max_concurrent_streams = options.max_concurrent_streams.or(usual.max_concurrent_streams);
        options.initial_stream_window_size = options.initial_stream_window_size.or(usual.initial_stream_window_size);
        options.initial_connection_window_size =
            options.initial_connection_window_size.or(usual.initial_connection_window_size);
        hcm.http2_protocol_options = Some(options);
    }
    if spec.scheme == Some(SchemeTransform::MatchBackend) {
        hcm.scheme_header_transformation =
            Some(SchemeHeaderTransformation { match_upstream: true, ..SchemeHeaderTransformation::default() });
    }
    if spec.grpc.as_ref().is_some_and(|grpc| grpc.enable_web == Some(true)) {
        before_router(hcm, filter("envoy.filters.http.grpc_web", any(&GrpcWeb {})));
    }
    if let Some(check) = &spec.health_check {
        let check = HealthCheck {
            pass_through_mode: Some(boolean(false)),
            headers: vec![matching(":path", exactly(&check.path))],
            ..HealthCheck::default()
        };
        hcm.http_filters.insert(0, filter("envoy.filters.http.health_check", any(&check)));
    }
}

fn filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)), ..HttpFilter::default() }
}

fn before_router(hcm: &mut HttpConnectionManager, filter: HttpFilter) {
    let last = hcm.http_filters.len().saturating_sub(1);
    hcm.http_filters.insert(last, filter);
}

fn client_ip(written: &ClientIpDetection, hcm: &mut HttpConnectionManager) {
    if let Some(forwarded) = &written.x_forwarded_for {
        if forwarded.trusted_cidrs.is_empty() {
            hcm.xff_num_trusted_hops = forwarded.num_trusted_hops.unwrap_or(0);
            hcm.skip_xff_append = forwarded.disable_append.unwrap_or(false);
            return;
        }
        hcm.use_remote_address = Some(boolean(false));
        let config = XffConfig {
            xff_trusted_cidrs: Some(XffTrustedCidrs {
                cidrs: forwarded.trusted_cidrs.iter().filter_map(|range| cidr(range)).collect(),
            }),
            skip_xff_append: Some(boolean(forwarded.disable_append.unwrap_or(false))),
            ..XffConfig::default()
        };
        hcm.original_ip_detection_extensions =
            vec![extension("envoy.extensions.http.original_ip_detection.xff", any(&config))];
    } else if let Some(custom) = &written.custom_header {
        hcm.use_remote_address = Some(boolean(false));
        let closed = custom.fail_closed == Some(true);
        let config = CustomHeaderConfig {
            header_name: custom.name.to_string(),
            reject_with_status: closed.then_some(HttpStatus { code: StatusCode::Forbidden as i32 }),
            ..CustomHeaderConfig::default()
        };
        hcm.original_ip_detection_extensions =
            vec![extension("envoy.extensions.http.original_ip_detection.custom_header", any(&config))];
    }
}

fn headers(written: &HeaderSettings, hcm: &mut HttpConnectionManager) {
    if written.enable_envoy_headers == Some(true)
        && let Some(router) = hcm.http_filters.iter_mut().find(|filter| filter.name == ROUTER)
    {
        router.config_type = Some(ConfigType::TypedConfig(any(&Router::default())));
    }
    if let Some(action) = written.with_underscores_action {
        common(hcm).headers_with_underscores_action = match action {
            UnderscoresAction::Allow => HeadersWithUnderscoresAction::Allow,
            UnderscoresAction::RejectRequest => HeadersWithUnderscoresAction::RejectRequest,
            UnderscoresAction::DropHeader => HeadersWithUnderscoresAction::DropHeader,
        } as i32;
    }
    if let Some(certificate) = &written.x_forwarded_client_cert {
        forwarded_certificate(certificate, hcm);
    }
    let keep = written.preserve_x_request_id == Some(true);
    match written.request_id.or(keep.then_some(RequestIdAction::PreserveOrGenerate)) {
        Some(RequestIdAction::PreserveOrGenerate) => hcm.preserve_external_request_id = true,
        Some(RequestIdAction::Preserve) => {
            hcm.preserve_external_request_id = true;
            hcm.generate_request_id = Some(boolean(false));
        }
        Some(RequestIdAction::Disable) => hcm.generate_request_id = Some(boolean(false)),
        Some(RequestIdAction::Generate) | None => {}
    }
    if let Some(edits) = &written.early_request_headers {
        early(edits, hcm);
    }
    if let Some(edits) = &written.late_response_headers {
        let filter = self::filter(
            "envoy.filters.http.header_mutation",
            any(&MutationFilter {
                mutations: Some(Mutations { response_mutations: mutations(edits), ..Mutations::default() }),
                ..MutationFilter::default()
            }),
        );
        // Answers meet the filters from the last to the first: this one is to see what all the others made.
        hcm.http_filters.insert(0, filter);
    }
    if written.host.as_ref().is_some_and(|host| host.strip_trailing_host_dot == Some(true)) {
        hcm.strip_trailing_host_dot = true;
        hcm.strip_port_mode = Some(StripPortMode::StripAnyHostPort(true));
    }
    if let Some(limit) = written.max_request_header_limit {
        let kib = u32::try_from(limit.0.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, 8192);
        hcm.max_request_headers_kb = Some(uint32(kib));
    }
}

/// The listener's own mutation, which chooses the route table, stays the last word.
fn early(edits: &HeaderEdits, hcm: &mut HttpConnectionManager) {
    use xds_api::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation as Early;
    let config = any(&Early { mutations: mutations(edits) });
    let own = extension("envoy.http.early_header_mutation.header_mutation", config);
    hcm.early_header_mutation_extensions.insert(0, own);
}

fn mutations(edits: &HeaderEdits) -> Vec<HeaderMutation> {
    let append = |pair: &kinds::envoy_gateway::shared::HeaderPair, how| {
        // Values may hold Envoy's commands: the policy is written by whoever runs the gateway.
        Action::Append(header(&pair.name, &pair.value, how))
    };
    let remove = edits.remove.iter().map(|name| Action::Remove(name.to_string()));
    let matched = edits.remove_on_match.iter().map(|found| {
        Action::RemoveOnMatch(RemoveOnMatch { key_matcher: Some(string_match(found.kind, &found.value)) })
    });
    let set = edits.set.iter().map(|pair| append(pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = edits.add.iter().map(|pair| append(pair, HeaderAppendAction::AppendIfExistsOrAdd));
    let absent = edits.add_if_absent.iter().map(|pair| append(pair, HeaderAppendAction::AddIfAbsent));
    let all = remove.chain(matched).chain(set).chain(add).chain(absent);
    all.map(|action| HeaderMutation { action: Some(action) }).collect()
}

fn forwarded_certificate(written: &ForwardedClientCert, hcm: &mut HttpConnectionManager) {
    let mode = written.mode.unwrap_or(ForwardedClientCertMode::Sanitize);
    hcm.forward_client_cert_details = match mode {
        ForwardedClientCertMode::Sanitize => ForwardClientCertDetails::Sanitize,
        ForwardedClientCertMode::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        ForwardedClientCertMode::AppendForward => ForwardClientCertDetails::AppendForward,
        ForwardedClientCertMode::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        ForwardedClientCertMode::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    } as i32;
    if !matches!(mode, ForwardedClientCertMode::AppendForward | ForwardedClientCertMode::SanitizeSet) {
        return;
    }
    let has = |detail: &str| written.cert_details_to_add.iter().any(|written| written == detail);
    hcm.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: has("Subject").then(|| boolean(true)),
        cert: has("Cert"),
        chain: has("Chain"),
        dns: has("DNS"),
        uri: has("URI"),
        ..SetCurrentClientCertDetails::default()
    });
}

fn common(hcm: &mut HttpConnectionManager) -> &mut HttpProtocolOptions {
    hcm.common_http_protocol_options.get_or_insert_default()
}

fn timeouts(spec: &ClientTrafficPolicySpec, hcm: &mut HttpConnectionManager) {
    if let Some(http) = spec.timeout.as_ref().and_then(|timeout| timeout.http.as_ref()) {
        if let Some(time) = http.request_received_timeout {
            hcm.request_timeout = Some(duration(time.0));
        }
        if let Some(time) = http.request_headers_received_timeout {
            hcm.request_headers_timeout = Some(duration(time.0));
        }
        if let Some(time) = http.idle_timeout {
            common(hcm).idle_timeout = Some(duration(time.0));
        }
        if let Some(time) = http.stream_idle_timeout {
            hcm.stream_idle_timeout = Some(duration(time.0));
        }
    }
    let Some(limit) = spec.connection.as_ref().and_then(|connection| connection.connection_limit.as_ref()) else {
        return;
    };
    let options = common(hcm);
    if let Some(time) = limit.max_connection_duration {
        options.max_connection_duration = Some(duration(time.0));
    }
    if let Some(count) = limit.max_requests_per_connection {
        options.max_requests_per_connection = Some(uint32(count));
    }
    if let Some(time) = limit.max_stream_duration {
        options.max_stream_duration = Some(duration(time.0));
    }
}

fn http1(written: &Http1Settings) -> Http1ProtocolOptions {
    let old = written.http10.as_ref();
    let format = PreserveCaseFormatterConfig::default();
    Http1ProtocolOptions {
        enable_trailers: written.enable_trailers.unwrap_or(false),
        accept_http_10: old.is_some(),
        // A request without a host is for the hosts that have no name of their own.
        default_host_for_http_10: if old.is_some_and(|old| old.use_default_host == Some(true)) {
            literal("default")
        } else {
            String::new()
        },
        header_key_format: (written.preserve_header_case == Some(true)).then(|| HeaderKeyFormat {
            header_format: Some(HeaderFormat::StatefulFormatter(extension(
                "envoy.http.stateful_header_formatters.preserve_case",
                any(&format),
            ))),
        }),
        ignore_http_11_upgrade: written
            .ignored_upgrade_types
            .iter()
            .map(|found| string_match(found.kind, &found.value))
            .collect(),
        ..Http1ProtocolOptions::default()
    }
}
