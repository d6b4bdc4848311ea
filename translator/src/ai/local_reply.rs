//! Errors that Envoy itself answers on AI routes, in the form that clients of OpenAI's API read.

use xds_api::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use xds_api::envoy::config::accesslog::v3::comparison_filter::Op;
use xds_api::envoy::config::accesslog::v3::{
    AccessLogFilter, AndFilter, ComparisonFilter, MetadataFilter, StatusCodeFilter,
};
use xds_api::envoy::config::core::v3::{RuntimeUInt32, SubstitutionFormatString, substitution_format_string::Format};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::{LocalReplyConfig, ResponseMapper};
use xds_api::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment::Segment};
use xds_api::envoy::r#type::matcher::v3::{MetadataMatcher, ValueMatcher, value_matcher::MatchPattern};
use xds_api::google::protobuf::value::Kind;
use xds_api::google::protobuf::{Struct, Value};

use super::filters::METADATA;
use crate::render::build::boolean;

/// A status, the type and code of the error, and its message where Envoy's own says too little.
struct Shape {
    status: u32,
    kind: &'static str,
    code: &'static str,
    message: &'static str,
}

const REPLY: &str = "%LOCAL_REPLY_BODY%";

const SHAPES: [Shape; 6] = [
    Shape { status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: REPLY },
    Shape { status: 403, kind: "invalid_request_error", code: "permission_denied", message: REPLY },
    Shape { status: 413, kind: "invalid_request_error", code: "request_too_large", message: REPLY },
    Shape { status: 500, kind: "server_error", code: "internal_error", message: REPLY },
    Shape { status: 503, kind: "server_error", code: "service_unavailable", message: REPLY },
    Shape { status: 504, kind: "server_error", code: "timeout", message: REPLY },
];

/// A refusal by a limit has no body: its headers say it all.
///
/// Answers of scripts and of routes are in the form already: each status here is one that only filters and the router give.
pub(crate) fn openai_shaped() -> LocalReplyConfig {
    LocalReplyConfig { mappers: SHAPES.iter().map(mapper).collect(), ..LocalReplyConfig::default() }
}

fn mapper(shape: &Shape) -> ResponseMapper {
    ResponseMapper {
        filter: Some(filter(FilterSpecifier::AndFilter(AndFilter {
            filters: vec![filter(status(shape.status)), filter(of_ai_routes())],
        }))),
        body_format_override: Some(SubstitutionFormatString {
            content_type: "application/json".to_owned(),
            format: Some(Format::JsonFormat(body(shape))),
            ..SubstitutionFormatString::default()
        }),
        ..ResponseMapper::default()
    }
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}

fn status(code: u32) -> FilterSpecifier {
    FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
        comparison: Some(ComparisonFilter {
            op: Op::Eq as i32,
            value: Some(RuntimeUInt32 { default_value: code, runtime_key: format!("chancery.ai.reply_{code}") }),
        }),
    })
}

fn of_ai_routes() -> FilterSpecifier {
    FilterSpecifier::MetadataFilter(MetadataFilter {
        matcher: Some(MetadataMatcher {
            filter: METADATA.to_owned(),
            path: vec![PathSegment { segment: Some(Segment::Key("request".to_owned())) }],
            value: Some(ValueMatcher { match_pattern: Some(MatchPattern::PresentMatch(true)) }),
            ..MetadataMatcher::default()
        }),
        match_if_key_not_found: Some(boolean(false)),
    })
}

fn body(shape: &Shape) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let error = Struct {
        fields: [
            ("code".to_owned(), text(shape.code)),
            ("message".to_owned(), text(shape.message)),
            ("param".to_owned(), Value { kind: Some(Kind::NullValue(0)) }),
            ("type".to_owned(), text(shape.kind)),
        ]
        .into(),
    };
    Struct { fields: [("error".to_owned(), Value { kind: Some(Kind::StructValue(error)) })].into() }
}
