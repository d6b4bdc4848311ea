//! Filters that a route brings itself, for what cannot be installed inert: faults, buffers, compression and the like.

use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{
    Composite, CompositePerRoute, ExecuteFilterAction, FilterChainConfiguration,
};
use xds_api::google::protobuf::Any;

use crate::render::matcher;

const NAME: &str = "chancery.traffic";

pub(super) fn install() -> (&'static str, Any) {
    (NAME, any(&Composite::default()))
}

/// The filters of a route, in the order in which a request meets them.
pub(crate) fn order(filters: Vec<TypedExtensionConfig>) -> (&'static str, Any) {
    let run = ExecuteFilterAction {
        filter_chain: Some(FilterChainConfiguration { typed_config: filters }),
        ..ExecuteFilterAction::default()
    };
    (NAME, any(&CompositePerRoute { matcher: Some(matcher::always(any(&run))) }))
}
