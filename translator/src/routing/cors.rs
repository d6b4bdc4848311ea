//! The CORS filter of a rule.

use kinds::gateway::HttpCorsFilter;
use xds_api::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use xds_api::envoy::r#type::matcher::v3::StringMatcher;

use super::matches::{by_regex, exactly};
use crate::render::build::boolean;

pub(super) fn policy(cors: &HttpCorsFilter) -> CorsPolicy {
    let credentials = cors.allow_credentials.unwrap_or(false);
    CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(|origin| allowed_origin(origin)).collect(),
        allow_methods: joined(&cors.allow_methods),
        allow_headers: joined(&cors.allow_headers),
        expose_headers: joined(&cors.expose_headers),
        max_age: cors.max_age.to_string(),
        allow_credentials: Some(boolean(credentials)),
        // A preflight from elsewhere is refused here: it says nothing to the backend.
        forward_not_matching_preflights: Some(boolean(false)),
        ..CorsPolicy::default()
    }
}

pub(crate) fn joined(values: &[impl AsRef<str>]) -> String {
    values.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",")
}

/// `*` stands for any origin, and within an origin for any characters but the scheme's separator.
pub(crate) fn allowed_origin(origin: &str) -> StringMatcher {
    if !origin.contains('*') {
        return exactly(origin);
    }
    let mut pattern = String::new();
    for character in origin.chars() {
        match character {
            '*' => pattern.push_str(".*"),
            c if c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-') => pattern.push(c),
            c => pattern.extend(['\\', c]),
        }
    }
    by_regex(&pattern)
}
