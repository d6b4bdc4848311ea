//! Which policies are in force for each rule of a route, as one listener serves it.

use kinds::ai::AiGatewayRouteSpec;
use kinds::gateway::{GrpcRouteSpec, HttpRouteSpec, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec};
use kinds::{Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::{Policies, merge};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Role, Target, Verdict};
use crate::names::{Chain, ListenerId};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effective {
    pub rules: Vec<InForce>,
    /// Policies that give way, each with the one it gives way to, and whether the two are merged.
    pub overrides: Vec<Override>,
    /// Policies that do nothing but limit: the requests of the route, or what the backends of its rules may be asked for.
    pub limiting: Vec<Chain>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InForce {
    pub security: Option<Chain>,
    pub traffic: Option<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Override {
    pub loser: ObjectId,
    pub winner: ObjectId,
    pub merged: bool,
}

pub(crate) fn evaluate(route: &ObjectId, listener: &ListenerId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(route) else { return Outcome::default() };
    let about = About::gather(route, listener, view);
    let mut effective = Effective::default();
    let mut demands = Vec::new();
    for rule in rules(object) {
        let security = about.chain(Kind::SecurityPolicy, rule.as_deref(), &mut effective.overrides, view);
        let traffic = about.chain(Kind::BackendTrafficPolicy, rule.as_deref(), &mut effective.overrides, view);
        demands.extend(security.iter().map(|chain| UnitId::Security(listener.gateway.clone(), chain.clone())));
        demands.extend(traffic.iter().map(|chain| UnitId::Traffic(chain.clone())));
        effective.rules.push(InForce { security, traffic });
    }
    effective.overrides.sort();
    effective.overrides.dedup();
    effective.limiting = limiting(route, view);
    demands.extend(effective.limiting.iter().map(|chain| UnitId::Traffic(chain.clone())));
    demands.extend(effective.overrides.iter().map(|gives_way| UnitId::Overridden(gives_way.loser.clone())));
    Outcome { product: Product::Effective(effective.into()), demands, diagnostics: Vec::new() }
}

fn limiting(route: &ObjectId, view: &View<'_>) -> Vec<Chain> {
    let about = |object: &ObjectId, kind: Kind| view.referrers_of(object, Role::PolicyTarget, kind).cloned();
    let mut found: Vec<ObjectId> = about(route, Kind::RateLimitPolicy).collect();
    if route.kind == Kind::AiGatewayRoute {
        for edge in view.references(route).filter(|edge| edge.role == Role::Backend) {
            if let (Target::Object(backend), Verdict::Allowed) = (&edge.target, edge.verdict) {
                found.extend(about(backend, Kind::QuotaPolicy));
            }
        }
    }
    found.sort();
    found.dedup();
    // Another namespace's routes are not a policy's to limit.
    found.retain(|policy| policy.kind != Kind::RateLimitPolicy || policy.namespace == route.namespace);
    found.into_iter().map(|policy| Chain(vec![policy])).collect()
}

/// The names of a route's rules, none for rules without.
fn rules(route: &Object) -> Vec<Option<SmolStr>> {
    let nameless = |count: usize| vec![None; count];
    match route.id.kind {
        Kind::HttpRoute => route
            .spec::<HttpRouteSpec>()
            .map(|spec| spec.rules.iter().map(|rule| rule.name.clone()).collect())
            .unwrap_or_default(),
        Kind::AiGatewayRoute => route
            .spec::<AiGatewayRouteSpec>()
            .map(|spec| spec.rules.iter().map(|rule| rule.name.clone()).collect())
            .unwrap_or_default(),
        Kind::GrpcRoute => route
            .spec::<GrpcRouteSpec>()
            .map(|spec| spec.rules.iter().map(|rule| rule.name.clone()).collect())
            .unwrap_or_default(),
        Kind::TlsRoute => nameless(route.spec::<TlsRouteSpec>().map_or(0, |spec| spec.rules.len())),
        Kind::TcpRoute => nameless(route.spec::<TcpRouteSpec>().map_or(0, |spec| spec.rules.len())),
        Kind::UdpRoute => nameless(route.spec::<UdpRouteSpec>().map_or(0, |spec| spec.rules.len())),
        _ => nameless(1),
    }
}

/// The policies about everything that a rule belongs to.
struct About<'a> {
    route: Option<&'a Policies>,
    set: Option<&'a Policies>,
    gateway: Option<&'a Policies>,
    section: SmolStr,
    in_set: bool,
}

impl<'a> About<'a> {
    fn gather(route: &ObjectId, listener: &ListenerId, view: &View<'a>) -> Self {
        let policies = |object: &ObjectId| view.made::<Policies>(UnitId::Policies(object.clone()));
        let in_set = listener.owner != listener.gateway;
        Self {
            route: policies(route),
            set: if in_set { policies(&listener.owner) } else { None },
            gateway: policies(&listener.gateway),
            section: listener.section.clone(),
            in_set,
        }
    }

    /// What may be in force, most specific first, and whether it is the route's own.
    fn candidates(&self, kind: Kind, rule: Option<&str>) -> Vec<(&'a ObjectId, bool)> {
        let of = |policies: Option<&'a Policies>, section: Option<&str>| policies.and_then(|p| p.winner(kind, section));
        let section = Some(self.section.as_str());
        let mut found = Vec::new();
        if rule.is_some() {
            found.extend(of(self.route, rule).map(|policy| (policy, true)));
        }
        found.extend(of(self.route, None).map(|policy| (policy, true)));
        if self.in_set {
            found.extend(of(self.set, section).map(|policy| (policy, false)));
            found.extend(of(self.set, None).map(|policy| (policy, false)));
        } else {
            found.extend(of(self.gateway, section).map(|policy| (policy, false)));
        }
        found.extend(of(self.gateway, None).map(|policy| (policy, false)));
        found
    }

    fn chain(&self, kind: Kind, rule: Option<&str>, overrides: &mut Vec<Override>, view: &View<'_>) -> Option<Chain> {
        let candidates = self.candidates(kind, rule);
        let mut rest = candidates.iter();
        let (head, of_route) = *rest.next()?;
        let mut chain = vec![head.clone()];
        let mut merging = of_route && view.object(head).is_some_and(|policy| merge::asked(policy));
        for (policy, _) in rest.filter(|(policy, _)| *policy != head) {
            if merging {
                chain.push((*policy).clone());
            }
            overrides.push(Override { loser: (*policy).clone(), winner: head.clone(), merged: merging });
            merging = false;
        }
        Some(Chain(chain))
    }
}
