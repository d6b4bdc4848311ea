//! A route's rules, as one listener serves them.
//!
//! ```text
//! rule -> matches (which requests) + filters (what is changed) + backends (where to) -> Envoy routes, each with its precedence
//! ```

mod backends;
mod cors;
mod extension;
mod external_auth;
pub(crate) mod fallback;
mod filters;
mod forward;
mod grpc;
mod http;
mod judged;
mod matches;
mod patterns;
mod precedence;
mod ruled;
mod session;

use std::collections::BTreeSet;

use bytes::Bytes;
use kinds::{Kind, ObjectId};
use smol_str::SmolStr;
use xds_api::envoy::config::route::v3::Route;

pub(crate) use backends::{Broken, resolve as resolve_backend};
pub(crate) use cors::{allowed_origin, joined};
pub(crate) use filters::Refused;
pub(crate) use filters::literal;
pub(crate) use judged::judge;
pub(crate) use matches::{
    by_regex, exactly, exactly_any_case, header as matching, headers, is_text, one_of_texts, quoted,
};
pub(crate) use precedence::{PathRank, Precedence};
pub(crate) use ruled::{RulePolicies, Ruled};

use crate::attach::{Parents, PlannedListener, Protocol};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{ClusterId, ListenerId, SecretId, Shard};
use crate::render::filters::{presence, table_fallback};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AttachedRules {
    /// Sorted; `*` stands for every host.
    pub hostnames: Vec<SmolStr>,
    pub routes: Vec<RankedRoute>,
    /// What keeps rules from working, the same at every listener.
    pub problems: Vec<Refused>,
    /// For routes of layer 4, which have a target in the place of routes.
    pub l4: Option<crate::l4::Target>,
    /// For routes by model.
    pub ai: Option<std::sync::Arc<crate::ai::AiRules>>,
}

/// An encoded Envoy route and its place among the routes of its host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RankedRoute {
    pub precedence: Precedence,
    pub body: Bytes,
}

/// What a route's rules become, and the clusters they lead to.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub routes: Vec<RankedRoute>,
    pub clusters: BTreeSet<ClusterId>,
    pub secrets: BTreeSet<SecretId>,
    /// That filters are used.
    pub filters: BTreeSet<UnitId>,
    pub problems: Vec<Refused>,
}

impl Rendered {
    /// A route of a Gateway as it goes into the table, and the filters that it has orders for.
    fn push(&mut self, gateway: &ObjectId, precedence: Precedence, route: Route) {
        self.filters.extend(presence::used_by(gateway, &route));
        self.routes.push(RankedRoute { precedence, body: table_fallback::found(route) });
    }
}

pub(crate) fn evaluate(route: &ObjectId, listener: &ListenerId, view: &View<'_>) -> Outcome {
    let Some(planned) = view.made::<PlannedListener>(UnitId::Listener(listener.clone())) else {
        return Outcome::default();
    };
    let Some(object) = view.object(route) else { return Outcome::default() };
    let hostnames = view.made::<Parents>(UnitId::Parents(route.clone())).map(|p| p.hostnames(listener));
    let hostnames = hostnames.unwrap_or_default();
    if !matches!(planned.protocol, Protocol::Http | Protocol::Https) {
        return crate::l4::evaluate(object, planned, hostnames, view);
    }
    let ruled = Ruled::gather(route, listener, view);
    if route.kind == Kind::AiGatewayRoute {
        return crate::ai::evaluate_attached(object, planned, hostnames, &ruled, view);
    }
    let rendered = match route.kind {
        Kind::HttpRoute => http::render(object, planned, &ruled, view),
        Kind::GrpcRoute => grpc::render(object, planned, &ruled, view),
        _ => Rendered::default(),
    };
    let hcm = &planned.hcm;
    let mut demands = Vec::new();
    for host in &hostnames {
        let shard = Shard::of(host);
        demands.push(UnitId::Table(hcm.clone(), shard));
        if shard != Shard::Default {
            demands.push(UnitId::Scope(hcm.clone(), host.clone()));
        }
    }
    let clusters = rendered.clusters.iter().chain(&ruled.extensions.clusters);
    demands.extend(clusters.map(|id| UnitId::Cluster(listener.gateway.clone(), id.clone())));
    demands.extend(rendered.secrets.iter().map(|id| UnitId::Secret(listener.gateway.clone(), id.clone())));
    let Rendered { routes, problems, filters, .. } = rendered;
    demands.extend(filters);
    let rules = AttachedRules { hostnames, routes, problems, ..AttachedRules::default() };
    Outcome { product: Product::Attached(rules.into()), demands, diagnostics: Vec::new() }
}
