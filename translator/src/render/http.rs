//! The HTTP connection manager of a listener.

use kinds::envoy_gateway::{ClientTrafficPolicySpec, EnvoyProxySpec};
use xds_api::any;
use xds_api::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation::Action};
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use xds_api::envoy::config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions, TypedExtensionConfig};
use xds_api::envoy::config::listener::v3::{Filter, filter};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::fragment_builder::{
    HeaderValueExtractor, Type as FragmentType, header_value_extractor,
};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::FragmentBuilder;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::{
    ConfigSpecifier, ScopeKeyBuilder,
};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, ScopedRds, ScopedRoutes,
};
use xds_api::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation as EarlyHeaderMutation;

use super::build::{boolean, from_ads, header, seconds, uint32};
use super::filters;
use super::filters::table_fallback::SCOPE_HEADER;
use super::genai;
use crate::names::HcmId;
use crate::policy::client;
use crate::policy::extension::Written;
use crate::policy::proxy::Additions;

/// Long token streams are quiet while a model thinks: a stream is idle only after this.
const STREAM_IDLE_SECONDS: i64 = 3600;
const REQUEST_HEADERS_SECONDS: i64 = 10;
const MAX_CONCURRENT_STREAMS: u32 = 100;
/// Prompts are large: these let one fill the link without a round trip for every 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// What is said about a connection manager besides its routes.
pub(crate) struct Asked<'a, 'v> {
    pub client: Option<&'a ClientTrafficPolicySpec>,
    pub proxy: Option<&'a Written<'v, EnvoyProxySpec>>,
    /// Whether the rate limit service is told what requests cost by the access log.
    pub settlements: bool,
    /// Whether policies patch what becomes of it.
    pub patched: bool,
}

pub(crate) fn connection_manager(hcm: &HcmId, tls: bool, asked: &Asked<'_, '_>, additions: &mut Additions) -> Filter {
    let scheme = if tls { "https" } else { "http" };
    let settlements = asked.settlements.then(filters::limits::settlements);
    let mut config = HttpConnectionManager {
        codec_type: CodecType::Auto as i32,
        stat_prefix: format!("{scheme}-{}", hcm.scope_prefix().replace('/', "-")),
        http_filters: filters::chain(asked.patched),
        route_specifier: Some(RouteSpecifier::ScopedRoutes(scoped_routes())),
        early_header_mutation_extensions: vec![scope_header(hcm)],
        use_remote_address: Some(boolean(true)),
        normalize_path: Some(boolean(true)),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::UnescapeAndRedirect as i32,
        server_header_transformation: ServerHeaderTransformation::PassThrough as i32,
        common_http_protocol_options: Some(HttpProtocolOptions {
            headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest as i32,
            ..HttpProtocolOptions::default()
        }),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: Some(uint32(MAX_CONCURRENT_STREAMS)),
            initial_stream_window_size: Some(uint32(STREAM_WINDOW)),
            initial_connection_window_size: Some(uint32(CONNECTION_WINDOW)),
            ..Http2ProtocolOptions::default()
        }),
        local_reply_config: Some(crate::ai::openai_shaped()),
        access_log: settlements.into_iter().chain(genai::statistics()).collect(),
        stream_idle_timeout: Some(seconds(STREAM_IDLE_SECONDS)),
        request_headers_timeout: Some(seconds(REQUEST_HEADERS_SECONDS)),
        ..HttpConnectionManager::default()
    };
    if let Some(policy) = asked.client {
        client::hcm::apply(policy, &mut config);
    }
    if let Some(proxy) = asked.proxy {
        additions.apply_to_http(proxy, &mut config);
    }
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    }
}

fn scoped_routes() -> ScopedRoutes {
    let fragment = FragmentBuilder {
        r#type: Some(FragmentType::HeaderValueExtractor(HeaderValueExtractor {
            name: SCOPE_HEADER.to_owned(),
            extract_type: Some(header_value_extractor::ExtractType::Index(0)),
            ..HeaderValueExtractor::default()
        })),
    };
    ScopedRoutes {
        name: "tables".to_owned(),
        scope_key_builder: Some(ScopeKeyBuilder { fragments: vec![fragment] }),
        rds_config_source: Some(from_ads()),
        config_specifier: Some(ConfigSpecifier::ScopedRds(ScopedRds {
            scoped_rds_config_source: Some(from_ads()),
            ..ScopedRds::default()
        })),
    }
}

/// Headers by which our own filters speak to each other.
const CLIENTS_MAY_NOT: [&str; 8] = [
    "x-ai-eg-model",
    "x-chancery-api",
    "x-chancery-edits",
    "x-chancery-share",
    "x-chancery-skip",
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-served",
    "x-gateway-destination-endpoint-subset",
];

/// Sets the table key before any route is looked for, and so overwrites what a client may have sent.
fn scope_header(hcm: &HcmId) -> TypedExtensionConfig {
    let key = hcm.scope_key("%REQ(:authority)%");
    let set = header(SCOPE_HEADER, &key, HeaderAppendAction::OverwriteIfExistsOrAdd);
    TypedExtensionConfig {
        name: "envoy.http.early_header_mutation.header_mutation".to_owned(),
        typed_config: Some(any(&EarlyHeaderMutation {
            mutations: CLIENTS_MAY_NOT
                .iter()
                .map(|name| HeaderMutation { action: Some(Action::Remove((*name).to_owned())) })
                .chain([HeaderMutation { action: Some(Action::Append(set)) }])
                .collect(),
        })),
    }
}
