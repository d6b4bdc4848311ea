//! The routes by which a host's table hands AI requests over to the filter that reads their model.
//!
//! They answer nothing themselves: a request that comes back to one was not understood.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;
use xds_api::envoy::config::core::v3::Metadata;
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::{DirectResponseAction, Route, RouteMatch};
use xds_api::google::protobuf::{Any, Struct, Value, value};

use super::api::{ENDPOINTS, LISTS};
use super::costs::Estimate;
use super::filters::MODEL;
use super::tables::{ModelKey, tables_of};
use crate::names::HcmId;
use crate::render::filters::table_fallback::found;
use crate::routing::{PathRank, Precedence, RankedRoute};

/// What is known of the models of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Their tables are fetched on demand.
    pub many: bool,
    /// Answers of some are counted, so that it has to be known what a request asks for.
    pub counted: bool,
    /// What limits hold of a request before it is answered.
    pub estimates: BTreeSet<Estimate>,
}

/// With orders for the filters that stand before the one that reads the model.
pub(crate) fn routes(hcm: &HcmId, host: &str, before: &BTreeMap<String, Any>, known: &Known) -> Vec<RankedRoute> {
    let estimates: Vec<&str> = known.estimates.iter().map(|estimate| estimate.field()).collect();
    let estimates = estimates.join(",");
    let marks = [
        known.many.then_some(("many", "true")),
        known.counted.then_some(("counted", "true")),
        (!estimates.is_empty()).then_some(("estimates", estimates.as_str())),
    ];
    let tables = tables_of(hcm, host);
    let reading = ENDPOINTS.iter().map(|endpoint| {
        let orders = [("act", "read"), ("api", endpoint.api.name()), ("rest", endpoint.rest), ("tables", &tables)];
        exact(endpoint.path, &orders.into_iter().chain(marks.into_iter().flatten()).collect::<Vec<_>>(), before)
    });
    let lists = LISTS.iter().map(|(path, api)| {
        let key = ModelKey::List(*api).scope_prefix();
        exact(path, &[("act", "list"), ("list", key), ("tables", &tables)], &BTreeMap::new())
    });
    let rest = RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..RouteMatch::default() };
    let unsupported = ranked("other-paths", rest, PathRank::Prefix, &[("act", "unsupported")], &BTreeMap::new());
    reading.chain(lists).chain([unsupported]).collect()
}

fn exact(path: &str, orders: &[(&str, &str)], before: &BTreeMap<String, Any>) -> RankedRoute {
    let matched = RouteMatch { path_specifier: Some(PathSpecifier::Path(path.to_owned())), ..RouteMatch::default() };
    ranked(path, matched, PathRank::Exact, orders, before)
}

/// The exact paths stand before whatever else the host has, every other path behind it.
fn ranked(
    name: &str,
    matched: RouteMatch,
    path: PathRank,
    orders: &[(&str, &str)],
    before: &BTreeMap<String, Any>,
) -> RankedRoute {
    let route = Route {
        name: format!("ai/{}", name.trim_start_matches('/')),
        r#match: Some(matched),
        metadata: Some(self::orders(MODEL, orders)),
        typed_per_filter_config: before.clone(),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 404, ..DirectResponseAction::default() })),
        ..Route::default()
    };
    let precedence = Precedence {
        path,
        path_length: Reverse(if path == PathRank::Exact { name.len() } else { 0 }),
        without_method: true,
        headers: Reverse(0),
        query: Reverse(0),
        undated: true,
        created: None,
        namespace: SmolStr::default(),
        name: name.into(),
        rule: 0,
        matched: 0,
    };
    RankedRoute { precedence, body: found(route) }
}

pub(crate) fn text(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
}

/// Metadata by which a route gives orders to a script.
pub(crate) fn orders(filter: &str, fields: &[(&str, &str)]) -> Metadata {
    let fields: BTreeMap<_, _> = fields.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    Metadata { filter_metadata: [(filter.to_owned(), Struct { fields })].into(), ..Metadata::default() }
}
