//! Filters that are there only where a route has orders for them.
//!
//! The listener knows each by name; its content comes by extension discovery, a resource of its own for each Gateway. While
//! nobody uses it, the content is a chain without filters, which adds nothing to a request. So the first route that uses
//! one costs an update of one small resource, which drains no connection. A Gateway with patches has them all in its
//! listeners, where patches look for them.
//!
//! *Invariant*: nothing that says who may come in is skipped because of it. A filter arrives before the routes that use it
//! (extensions are sent before route tables) and goes some time after them. A request that came before the filter and whose
//! route is chosen after it is judged by what was in force when it came, and refused where it had to meet a guard.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kinds::ObjectId;
use prost::Name;
use xds_api::envoy::config::core::v3::ExtensionConfigSource;
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_action::ClusterSpecifier;
use xds_api::envoy::config::route::v3::{Route, RouteAction};
use xds_api::envoy::extensions::filters::http::filter_chain::v3::FilterChainConfig;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::google::protobuf::Any;
use xds_api::{Resource, ResourceType, any};

use super::{CHAIN, Installed};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::render::build::{extension, from_ads};

/// By name, what each filter is once somebody uses it.
static WHERE_USED: LazyLock<BTreeMap<&'static str, Any>> = LazyLock::new(|| {
    let installs = CHAIN.iter().filter_map(|installed| match installed {
        Installed::WhereUsed(install) => Some(install()),
        Installed::Always(_) | Installed::Guards(_) => None,
    });
    installs.collect()
});

/// A filter of a listener whose content is discovered: of a type, or nothing.
pub(super) fn discovered(name: &str, type_url: String) -> HttpFilter {
    let source = ExtensionConfigSource {
        config_source: Some(from_ads()),
        type_urls: vec![type_url, FilterChainConfig::type_url()],
        ..ExtensionConfigSource::default()
    };
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::ConfigDiscovery(source)),
        ..HttpFilter::default()
    }
}

/// The content of a filter that nobody uses.
pub(super) fn nothing() -> Any {
    any(&FilterChainConfig::default())
}

/// The resources of all such filters of a Gateway, used or not.
pub(crate) fn units(gateway: &ObjectId) -> impl Iterator<Item = UnitId> {
    WHERE_USED.keys().map(|name| UnitId::Filter(gateway.clone(), name))
}

/// What a route that has orders for filters asks for.
pub(crate) fn used_by(gateway: &ObjectId, route: &Route) -> Vec<UnitId> {
    let noted = route.metadata.iter().flat_map(|metadata| metadata.filter_metadata.keys());
    // Every route by model bears the mark by which this filter knows that there is one.
    let noted = noted.filter(|name| *name != crate::ai::OTHER);
    let shares = match &route.action {
        Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(all)), ..
        })) => all.clusters.as_slice(),
        _ => &[],
    };
    let of_shares = shares.iter().flat_map(|share| share.typed_per_filter_config.keys());
    let names = route.typed_per_filter_config.keys().chain(of_shares).chain(noted);
    names.filter_map(|name| used(gateway, name)).collect()
}

pub(crate) fn used(gateway: &ObjectId, name: &str) -> Option<UnitId> {
    let (name, _) = WHERE_USED.get_key_value(name)?;
    Some(UnitId::FilterUse(gateway.clone(), name))
}

/// That a filter is used, however many routes use it.
pub(crate) fn evaluate_use(gateway: &ObjectId, name: &'static str) -> Outcome {
    Outcome { demands: vec![UnitId::Filter(gateway.clone(), name)], ..Outcome::default() }
}

pub(crate) fn evaluate(name: &'static str, view: &View<'_>) -> Outcome {
    let used = view.demanders().into_iter().any(|unit| matches!(unit.id, UnitId::FilterUse(..)));
    let config = WHERE_USED.get(name).filter(|_| used).cloned().unwrap_or_else(nothing);
    Product::Resource(Resource::encode(ResourceType::ExtensionConfig, name, &extension(name, config))).into()
}
