//! Which other sites' pages may send requests.

use kinds::envoy_gateway::Cors;
use xds_api::any;
use xds_api::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use xds_api::google::protobuf::Any;

use crate::render::build::boolean;
use crate::routing::{allowed_origin, joined};

pub(super) fn order(written: &Cors) -> Any {
    let policy = CorsPolicy {
        allow_origin_string_match: written.allow_origins.iter().map(|origin| allowed_origin(origin)).collect(),
        allow_methods: joined(&written.allow_methods),
        allow_headers: joined(&written.allow_headers),
        expose_headers: joined(&written.expose_headers),
        max_age: written.max_age.map(|age| age.0.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: Some(boolean(written.allow_credentials.unwrap_or(false))),
        forward_not_matching_preflights: Some(boolean(false)),
        ..CorsPolicy::default()
    };
    any(&policy)
}
