//! A route table: the virtual hosts of one shard of a listener's hostnames.
//!
//! Routes arrive encoded. A table is put together from those bytes, so that one changed route costs its own encoding and
//! a copy of its neighbours. [`RawTable`] and [`RawHost`] have the field numbers of Envoy's `RouteConfiguration` and
//! `VirtualHost`, with the routes as opaque bytes; a test holds that.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use smol_str::SmolStr;
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::{DirectResponseAction, Route, RouteMatch};
use xds_api::{Resource, ResourceType};

use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{HcmId, Shard};
use crate::render::filters::table_fallback;
use crate::routing::{AttachedRules, RankedRoute};

#[derive(Clone, PartialEq, prost::Message)]
struct RawTable {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    virtual_hosts: Vec<RawHost>,
    #[prost(string, repeated, tag = "8")]
    request_headers_to_remove: Vec<String>,
    #[prost(bool, tag = "14")]
    ignore_port_in_host_matching: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawHost {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    domains: Vec<String>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    routes: Vec<Bytes>,
}

pub(crate) fn evaluate(hcm: &HcmId, shard: Shard, view: &View<'_>) -> Outcome {
    let mut by_model: BTreeMap<SmolStr, (bool, Vec<RankedRoute>)> = BTreeMap::new();
    let mut hosts: BTreeMap<SmolStr, Vec<&RankedRoute>> = BTreeMap::new();
    let mut misdirected = BTreeSet::new();
    for unit in view.demanders() {
        match unit.id {
            UnitId::Attached(..) => {
                let Some(rules) = view.made_by::<AttachedRules>(unit) else { continue };
                for host in rules.hostnames.iter().filter(|host| Shard::of(host) == shard) {
                    hosts.entry(host.clone()).or_default().extend(&rules.routes);
                    // One set of routes leads to the models of a host, whichever routes name them: the first that has
                    // something to say about requests whose model is not known yet says it for all.
                    if let Some(ai) = &rules.ai {
                        let known = by_model.get(host).is_some_and(|(before, _)| *before || ai.before.is_empty());
                        if !known {
                            let routes = crate::ai::pre_routes(hcm, host, &ai.before);
                            by_model.insert(host.clone(), (!ai.before.is_empty(), routes));
                        }
                    }
                }
            }
            // A listener asks for the table of its own hostname, so that a host without routes is answered 404 and
            // not by a less specific listener's routes.
            UnitId::Plan(_) => {
                for host in crate::attach::isolated_hosts(view, hcm) {
                    if Shard::of(&host) == shard {
                        hosts.entry(host).or_default();
                    }
                }
                if shard == Shard::Default {
                    misdirected = crate::attach::misdirected_hosts(view, hcm);
                }
            }
            _ => {}
        }
    }
    for (host, (_, routes)) in &by_model {
        hosts.entry(host.clone()).or_default().extend(routes);
    }
    for host in &misdirected {
        hosts.entry(host.clone()).or_default();
    }
    let name = hcm.table_name(shard);
    let virtual_hosts = hosts.into_iter().map(|(host, mut routes)| {
        if misdirected.contains(&host) {
            let routes = vec![always("misdirected", MISDIRECTED)];
            return RawHost { name: host.to_string(), domains: vec![host.to_string()], routes };
        }
        routes.sort_by(|a, b| a.precedence.cmp(&b.precedence));
        let routes = routes.into_iter().map(|route| route.body.clone());
        // A host with a table of its own never falls through to wildcard hostnames.
        let last = (shard != Shard::Default).then(|| always("not-found", 404));
        RawHost { name: host.to_string(), domains: vec![host.to_string()], routes: routes.chain(last).collect() }
    });
    let table = RawTable {
        name: name.clone(),
        virtual_hosts: virtual_hosts.collect(),
        request_headers_to_remove: vec![table_fallback::SCOPE_HEADER.to_owned()],
        ignore_port_in_host_matching: true,
    };
    Product::Resource(Resource::encode(ResourceType::RouteConfiguration, &name, &table)).into()
}

/// A client that shares a connection among hosts is told to open another.
const MISDIRECTED: u32 = 421;

fn always(name: &str, status: u32) -> Bytes {
    let route = Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        metadata: Some(table_fallback::marker()),
        action: Some(Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })),
        ..Route::default()
    };
    route.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use xds_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};

    use super::*;

    #[test]
    fn raw_tables_are_route_configurations() {
        let route = Route { name: "r".into(), ..Route::default() };
        let host = VirtualHost {
            name: "h".into(),
            domains: vec!["h".into(), "*.h".into()],
            routes: vec![route.clone()],
            ..VirtualHost::default()
        };
        let table = RouteConfiguration {
            name: "t".into(),
            virtual_hosts: vec![host],
            request_headers_to_remove: vec!["x".into()],
            ignore_port_in_host_matching: true,
            ..Default::default()
        };
        let raw_host = RawHost {
            name: "h".into(),
            domains: vec!["h".into(), "*.h".into()],
            routes: vec![route.encode_to_vec().into()],
        };
        let raw = RawTable {
            name: "t".into(),
            virtual_hosts: vec![raw_host],
            request_headers_to_remove: vec!["x".into()],
            ignore_port_in_host_matching: true,
        };
        assert_eq!(raw.encode_to_vec(), table.encode_to_vec());
    }
}
