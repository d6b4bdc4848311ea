//! The HTTP filters of a listener: one file each.
//!
//! Invariant: the chain is the same for every listener, whatever routes and policies there are. A filter is installed
//! once, inert, and a route gives it its orders, so that no edit of a route or a policy touches a listener and drains
//! its connections. A filter that is installed `disabled` would be skipped for routes that are chosen after the body was
//! read; none is.

mod cors;
pub(crate) mod csrf;
pub(crate) mod guards;
pub(crate) mod limits;
pub(crate) mod rbac;
mod router;
pub(crate) mod session;
pub(crate) mod table_fallback;
pub(crate) mod traffic;

use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::google::protobuf::Any;

pub(crate) use cors::CORS;
use traffic::Place;

use crate::names::GuardSort;
use crate::policy::external;

/// The order in which a request meets the filters.
const CHAIN: [fn() -> HttpFilter; 28] = [
    || installed(table_fallback::install()),
    || installed(external::install()),
    || installed(crate::ai::install_model()),
    || installed(crate::ai::install_on_demand()),
    || installed(crate::ai::install_other()),
    || installed(traffic::install(Place::Answers)),
    || installed(cors::install()),
    || installed(csrf::install()),
    || installed(traffic::install(Place::Asked)),
    || guards::install(GuardSort::ExtAuth),
    || guards::install(GuardSort::Keys),
    || guards::install(GuardSort::Login),
    || guards::install(GuardSort::Tokens),
    || installed(rbac::install()),
    || installed(traffic::install_fault()),
    || installed(traffic::install(Place::Buffer)),
    || installed(traffic::install(Place::RequestBandwidth)),
    || installed(traffic::install(Place::ResponseBandwidth)),
    || installed(traffic::install(Place::Compression)),
    || installed(limits::install(false)),
    || installed(limits::install(true)),
    || installed(crate::ai::install_usage()),
    || installed(limits::install_local()),
    || installed(traffic::install(Place::Credentials)),
    || installed(session::install()),
    || installed(crate::ai::install_picker()),
    || installed(super::dynamic::install()),
    || installed(router::install()),
];

pub(crate) fn chain() -> Vec<HttpFilter> {
    CHAIN.iter().map(|install| install()).collect()
}

fn installed((name, config): (&str, Any)) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)), ..HttpFilter::default() }
}
