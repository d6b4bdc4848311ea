//! The last filter: sends the request to its cluster.

use xds_api::any;
use xds_api::envoy::extensions::filters::http::router::v3::Router;
use xds_api::google::protobuf::Any;

pub(super) fn install() -> (&'static str, Any) {
    ("envoy.filters.http.router", any(&Router { suppress_envoy_headers: true, ..Router::default() }))
}
