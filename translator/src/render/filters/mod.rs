//! The HTTP filters of a listener: one file each.
//!
//! Invariant: the chain is the same for every listener, whatever routes and policies there are. A filter is installed
//! once, inert, and a route gives it its orders, so that no edit of a route or a policy touches a listener and drains
//! its connections. A filter that is installed `disabled` would be skipped for routes that are chosen after the body was
//! read; none is.
//!
//! Even an inert filter costs each request a microsecond or two. So most come by extension discovery, and are nothing, a
//! chain without filters, until a route of the Gateway has orders for them: `presence.rs`.

mod cors;
pub(crate) mod csrf;
pub(crate) mod guards;
pub(crate) mod limits;
pub(crate) mod presence;
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

/// When a filter is part of the chain.
enum Installed {
    /// What says who may come in, or leads a request to its route, is there for every request.
    Always(fn() -> (&'static str, Any)),
    /// Nothing until a route of the Gateway has orders for it.
    WhereUsed(fn() -> (&'static str, Any)),
    /// Nothing until there are chains of the sort.
    Guards(GuardSort),
}

use Installed::{Always, Guards, WhereUsed};

/// The order in which a request meets the filters.
const CHAIN: [Installed; 29] = [
    Always(table_fallback::install),
    WhereUsed(external::install),
    Always(crate::ai::install_model),
    WhereUsed(crate::ai::install_on_demand),
    WhereUsed(crate::ai::install_other),
    WhereUsed(|| traffic::install(Place::Answers)),
    WhereUsed(cors::install),
    Always(csrf::install),
    Always(|| traffic::install(Place::Asked)),
    Guards(GuardSort::ExtAuth),
    Guards(GuardSort::Keys),
    Guards(GuardSort::Login),
    Guards(GuardSort::Tokens),
    Always(rbac::install),
    WhereUsed(traffic::install_fault),
    WhereUsed(|| traffic::install(Place::Buffer)),
    WhereUsed(|| traffic::install(Place::RequestBandwidth)),
    WhereUsed(|| traffic::install(Place::ResponseBandwidth)),
    WhereUsed(|| traffic::install(Place::Compression)),
    WhereUsed(|| limits::install(false)),
    WhereUsed(|| limits::install(true)),
    WhereUsed(crate::ai::install_quotas),
    WhereUsed(crate::ai::install_usage),
    WhereUsed(limits::install_local),
    WhereUsed(|| traffic::install(Place::Credentials)),
    WhereUsed(session::install),
    WhereUsed(crate::ai::install_picker),
    WhereUsed(super::dynamic::install),
    Always(router::install),
];

/// With `whole`, every filter stands in the listener itself: patches find what they change there, and may give orders that
/// nobody here knows of.
pub(crate) fn chain(whole: bool) -> Vec<HttpFilter> {
    CHAIN.iter().map(|installed| http_filter(installed, whole)).collect()
}

fn http_filter(installed: &Installed, whole: bool) -> HttpFilter {
    let (name, config) = match installed {
        Always(install) | WhereUsed(install) => install(),
        Guards(sort) => return guards::install(*sort),
    };
    if matches!(installed, WhereUsed(_)) && !whole {
        return presence::discovered(name, config.type_url);
    }
    let config_type = Some(ConfigType::TypedConfig(config));
    HttpFilter { name: name.to_owned(), config_type, ..HttpFilter::default() }
}
