//! Filters that a route brings itself, for what cannot be installed inert: buffers, limits of bandwidth, compression,
//! replaced answers, a service that its rule asks, and credentials that are put on.
//!
//! Each has a place of its own in the chain: a filter that makes a request wait goes on behind its whole place.

use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{
    Composite, CompositePerRoute, ExecuteFilterAction, FilterChainConfiguration,
};
use xds_api::envoy::extensions::filters::http::fault::v3::HttpFault;
use xds_api::google::protobuf::Any;

use crate::render::matcher;

pub(crate) const FAULT: &str = "envoy.filters.http.fault";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Answers,
    /// A service that the rule itself wants asked, apart from what policies ask.
    Asked,
    Buffer,
    RequestBandwidth,
    ResponseBandwidth,
    Compression,
    /// Behind all that looks at a request: what is put on is for the backend alone.
    Credentials,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Answers => "chancery.traffic.answers",
            Self::Asked => "chancery.traffic.asked",
            Self::Buffer => "chancery.traffic.buffer",
            Self::RequestBandwidth => "chancery.traffic.request_bandwidth",
            Self::ResponseBandwidth => "chancery.traffic.response_bandwidth",
            Self::Compression => "chancery.traffic.compression",
            Self::Credentials => "chancery.traffic.credentials",
        }
    }
}

pub(super) fn install(place: Place) -> (&'static str, Any) {
    (place.name(), any(&Composite::default()))
}

/// Installed as it is: without a fault it does nothing.
pub(super) fn install_fault() -> (&'static str, Any) {
    (FAULT, any(&HttpFault::default()))
}

/// The filters of a route for one place, in the order in which a request meets them.
pub(crate) fn order(place: Place, filters: Vec<TypedExtensionConfig>) -> (&'static str, Any) {
    let run = ExecuteFilterAction {
        filter_chain: Some(FilterChainConfiguration { typed_config: filters }),
        ..ExecuteFilterAction::default()
    };
    (place.name(), any(&CompositePerRoute { matcher: Some(matcher::always(any(&run))) }))
}
