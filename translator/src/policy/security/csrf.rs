//! Requests that a page of another site made a browser send.

use kinds::envoy_gateway::Csrf;
use xds_api::any;
use xds_api::envoy::config::core::v3::RuntimeFractionalPercent;
use xds_api::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use xds_api::google::protobuf::Any;

use crate::render::build::millionths;
use crate::routing::allowed_origin;

pub(super) fn order(written: &Csrf) -> Any {
    let share = |numerator| {
        Some(RuntimeFractionalPercent { default_value: Some(millionths(numerator)), runtime_key: String::new() })
    };
    // What is not enforced is watched: only then does Envoy count it.
    let shadow = written.shadow_fraction.as_ref().map_or(0, kinds::envoy_gateway::shared::Fraction::millionths);
    // Envoy compares hosts, and an origin is a scheme with one.
    let host = |origin: &str| origin.split_once("://").map_or(origin, |(_, host)| host).to_owned();
    let policy = CsrfPolicy {
        filter_enabled: share(1_000_000 - shadow),
        shadow_enabled: (shadow > 0).then(|| share(1_000_000)).flatten(),
        additional_origins: written.additional_origins.iter().map(|origin| allowed_origin(&host(origin))).collect(),
    };
    any(&policy)
}
