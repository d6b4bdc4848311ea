//! Requests that another site's page made a browser send. Inert until a route brings a policy.

use xds_api::any;
use xds_api::envoy::config::core::v3::RuntimeFractionalPercent;
use xds_api::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use xds_api::google::protobuf::Any;

use crate::render::build::millionths;

pub(crate) const CSRF: &str = "envoy.filters.http.csrf";

pub(super) fn install() -> (&'static str, Any) {
    let never = RuntimeFractionalPercent { default_value: Some(millionths(0)), ..RuntimeFractionalPercent::default() };
    (CSRF, any(&CsrfPolicy { filter_enabled: Some(never), ..CsrfPolicy::default() }))
}
