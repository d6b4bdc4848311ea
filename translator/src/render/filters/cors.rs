//! Cross-origin requests. Inert until a route carries a `CorsPolicy`.

use xds_api::any;
use xds_api::envoy::extensions::filters::http::cors::v3::Cors;
use xds_api::google::protobuf::Any;

/// The key under which a route gives its orders.
pub(crate) const CORS: &str = "envoy.filters.http.cors";

pub(super) fn install() -> (&'static str, Any) {
    (CORS, any(&Cors {}))
}
