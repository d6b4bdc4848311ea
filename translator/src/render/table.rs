//! A route table: the virtual hosts of one shard of a listener's hostnames.
//!
//! Routes arrive encoded, see [`EncodedTable`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use smol_str::SmolStr;
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::{DirectResponseAction, Route, RouteConfiguration, RouteMatch};
use xds_api::google::protobuf::Any;

use super::encoded_table::EncodedTable;
use crate::ai::{AiRules, KnownModels};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{HcmId, Shard};
use crate::render::filters::table_fallback::{self, found};
use crate::routing::{AttachedRules, RankedRoute};

pub(crate) fn evaluate(hcm: &HcmId, shard: Shard, view: &View<'_>) -> Outcome {
    let mut by_model: BTreeMap<SmolStr, ByModel<'_>> = BTreeMap::new();
    let mut hosts: BTreeMap<SmolStr, Vec<&RankedRoute>> = BTreeMap::new();
    let mut misdirected = BTreeSet::new();
    for unit in view.demanders() {
        match unit.id {
            UnitId::Attached(..) => {
                let Some(rules) = view.made_by::<AttachedRules>(unit) else { continue };
                for host in rules.hostnames.iter().filter(|host| Shard::of(host) == shard) {
                    hosts.entry(host.clone()).or_default().extend(&rules.routes);
                    if let Some(ai) = &rules.ai {
                        by_model.entry(host.clone()).or_default().add(ai);
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
    let by_model: Vec<(SmolStr, Vec<RankedRoute>)> =
        by_model.into_iter().map(|(host, found)| (host.clone(), found.routes(hcm, &host, view))).collect();
    for (host, routes) in &by_model {
        hosts.entry(host.clone()).or_default().extend(routes);
    }
    for host in &misdirected {
        hosts.entry(host.clone()).or_default();
    }
    let name = hcm.table_name(shard);
    let mut table = EncodedTable::new(&name);
    for (host, mut routes) in hosts {
        if misdirected.contains(&host) {
            table.host(&host, &host, [&*MISDIRECTED].into_iter());
            continue;
        }
        routes.sort_by(|a, b| a.precedence.cmp(&b.precedence));
        // A host with a table of its own never falls through to wildcard hostnames.
        let last = (shard != Shard::Default).then(|| &*NOT_FOUND);
        table.host(&host, &host, routes.iter().map(|route| &route.body).chain(last));
    }
    Product::Resource(table.finish(&REST)).into()
}

/// One set of routes leads to the models of a host, whichever routes name them.
#[derive(Default)]
struct ByModel<'a> {
    /// The first route that has something to say about requests whose model is not known yet says it for all.
    before: Option<&'a BTreeMap<String, Any>>,
    known: KnownModels,
}

impl<'a> ByModel<'a> {
    fn add(&mut self, rules: &'a AiRules) {
        self.before = self.before.or(Some(&rules.before).filter(|before| !before.is_empty()));
        self.known.counted |= rules.counted;
        self.known.estimates.extend(&rules.estimates);
    }

    fn routes(self, hcm: &HcmId, host: &SmolStr, view: &View<'_>) -> Vec<RankedRoute> {
        let known = KnownModels { many: crate::ai::many_models(hcm, host, view), ..self.known };
        crate::ai::pre_routes(hcm, host, self.before.unwrap_or(&BTreeMap::new()), &known)
    }
}

/// What is the same in every table.
static REST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let rest = RouteConfiguration {
        request_headers_to_remove: vec![table_fallback::SCOPE_HEADER.to_owned()],
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    rest.encode_to_vec()
});

/// A client that shares a connection among hosts is told to open another.
static MISDIRECTED: LazyLock<Bytes> = LazyLock::new(|| always("misdirected", 421));
static NOT_FOUND: LazyLock<Bytes> = LazyLock::new(|| always("not-found", 404));

fn always(name: &str, status: u32) -> Bytes {
    let route = Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })),
        ..Route::default()
    };
    found(route)
}
