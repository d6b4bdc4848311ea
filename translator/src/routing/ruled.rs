//! The policies in force for a route's rules, ready to be put on Envoy routes.

use kinds::{Kind, ObjectId};
use xds_api::envoy::config::core::v3::Metadata;
use xds_api::envoy::config::route::v3::{Route, RouteAction};

use crate::ai::{Costs, Estimate, QUOTAS, orders_text};
use crate::engine::{UnitId, View};
use crate::names::{ListenerId, Settings};
use crate::options::LimitService;
use crate::policy::external::{self, Extensions};
use crate::policy::limits::{self, Costed, Limits};
use crate::policy::security::network::Connections;
use crate::policy::{Effective, Security, Traffic};

pub(crate) struct Ruled<'a> {
    route: ObjectId,
    rules: Vec<Rule<'a>>,
    pub(crate) extensions: Extensions,
    /// What the requests of a route by model cost.
    costs: Option<Costs>,
    service: &'a LimitService,
    /// What policies that only limit say about the route and its backends.
    limiting: Vec<&'a Traffic>,
}

#[derive(Clone, Copy, Default)]
struct Rule<'a> {
    security: Option<&'a Security>,
    traffic: Option<&'a Traffic>,
    /// A policy is in force of which nothing is known: its routes are closed.
    unknown: bool,
}

impl<'a> Ruled<'a> {
    pub(crate) fn gather(route: &ObjectId, listener: &ListenerId, view: &View<'a>) -> Self {
        let effective = view.made::<Effective>(UnitId::Effective(route.clone(), listener.clone()));
        let rule = |in_force: &crate::policy::effective::InForce| {
            let security = in_force
                .security
                .as_ref()
                .map(|chain| view.made::<Security>(UnitId::Security(listener.gateway.clone(), chain.clone())));
            let traffic = in_force.traffic.as_ref().map(|chain| view.made::<Traffic>(UnitId::Traffic(chain.clone())));
            Rule {
                unknown: security.is_some_and(|found| found.is_none()),
                security: security.flatten(),
                traffic: traffic.flatten(),
            }
        };
        let rules = effective.into_iter().flat_map(|effective| effective.rules.iter().map(rule)).collect();
        let extensions = external::of(route, &listener.gateway, view);
        let by_model = (route.kind == Kind::AiGatewayRoute).then(|| view.object(route)).flatten();
        let costs = by_model.map(|object| Costs::of(object, &listener.gateway, view));
        let limiting: Vec<&Traffic> = effective
            .into_iter()
            .flat_map(|effective| &effective.limiting)
            .filter_map(|chain| view.made::<Traffic>(UnitId::Traffic(chain.clone())))
            .collect();
        let expressions =
            limiting.iter().filter_map(|traffic| traffic.limits.as_ref()).flat_map(|limits| &limits.costs);
        let costs = costs.map(|costs| costs.with_expressions(expressions));
        Self { route: route.clone(), rules, extensions, costs, service: &view.options.limits, limiting }
    }

    pub(crate) fn rule(&self, index: usize) -> RulePolicies<'_> {
        let rule = self.rules.get(index).copied().unwrap_or_default();
        let needed = self.needed(rule);
        let unknown_cost = needed.iter().any(|needed| !Costs::speaks(&needed.key));
        let costs = self.costs.clone().map(|costs| costs.with(needed.into_iter().map(|needed| needed.key)));
        RulePolicies {
            route: &self.route,
            rule,
            extensions: &self.extensions,
            costs,
            unknown_cost,
            service: self.service,
            limiting: &self.limiting,
        }
    }

    /// The costs that limits of a rule need and that the route does not list.
    fn needed(&self, rule: Rule<'a>) -> Vec<Costed<'a>> {
        let limits = rule.traffic.and_then(|traffic| traffic.limits.as_ref());
        self.costs.as_ref().zip(limits).map(|(costs, limits)| limits.unproduced(costs)).unwrap_or_default()
    }

    /// The same of all rules, each once.
    pub(crate) fn unlisted_costs(&self) -> Vec<Costed<'a>> {
        let mut all: Vec<Costed<'a>> = Vec::new();
        for needed in self.rules.iter().flat_map(|rule| self.needed(*rule)) {
            if !all.contains(&needed) {
                all.push(needed);
            }
        }
        all
    }
}

/// The policies in force for one rule.
pub(crate) struct RulePolicies<'a> {
    route: &'a ObjectId,
    rule: Rule<'a>,
    extensions: &'a Extensions,
    costs: Option<Costs>,
    /// A limit needs a cost that nobody produces.
    unknown_cost: bool,
    service: &'a LimitService,
    limiting: &'a [&'a Traffic],
}

impl RulePolicies<'_> {
    /// Whether the rule answers 500: a policy that cannot be had must not be left out.
    pub(crate) fn refused(&self) -> bool {
        self.extensions.refused
            || self.unknown_cost
            || self.limiting.iter().any(|traffic| !traffic.problems.is_empty())
            || self.rule.unknown
            || self.rule.security.is_some_and(|security| !security.problems.is_empty())
            || self.rule.traffic.is_some_and(|traffic| !traffic.problems.is_empty())
    }

    /// What guards connections, for routes that know of nothing else. `Closed` where there is no way to guard them.
    pub(crate) fn connections(&self) -> Connections {
        if self.refused() {
            return Connections::Closed;
        }
        self.rule.security.map(|security| security.connections.clone()).unwrap_or_default()
    }

    pub(crate) fn settings(&self) -> Option<&Settings> {
        self.rule.traffic.and_then(|traffic| traffic.settings.as_ref())
    }

    /// The headers in which callers show keys, unless the policy says what becomes of them.
    pub(crate) fn key_headers(&self) -> &[String] {
        self.rule.security.map(|security| security.key_headers.as_slice()).unwrap_or_default()
    }

    pub(crate) fn cors(&self) -> bool {
        self.rule.security.is_some_and(|security| security.cors)
    }

    /// Puts the orders of the policies on a route. What the rule itself says comes later and replaces them.
    pub(crate) fn apply(&self, envoy: &mut Route, rule: Option<&str>) {
        self.apply_with(envoy, rule, &[]);
    }

    /// With the quotas of the backends that the route leads to.
    pub(crate) fn apply_with(&self, envoy: &mut Route, rule: Option<&str>, quotas: &[limits::Asked<'_>]) {
        let security = self.rule.security.iter().flat_map(|security| &security.orders);
        let traffic = self.rule.traffic.iter().flat_map(|traffic| &traffic.orders);
        let orders = security.chain(traffic).map(|(name, order)| ((*name).to_owned(), order.clone()));
        envoy.typed_per_filter_config.extend(orders);
        let extensions = self.extensions.orders.iter().map(|order| (external::EXTENSIONS.to_owned(), order.clone()));
        envoy.typed_per_filter_config.extend(extensions);
        let of_requests = self.limiting.iter().filter_map(|traffic| traffic.limits.as_ref());
        let of_requests = of_requests.filter(|limits| limits.rules.iter().all(|rule| rule.about.is_none()));
        let all: Vec<&Limits> =
            self.rule.traffic.and_then(|traffic| traffic.limits.as_ref()).into_iter().chain(of_requests).collect();
        let route = limits::Route { id: self.route, costs: self.costs.as_ref() };
        let kept = limits::kept(&all, quotas, self.service);
        if !kept.is_empty() {
            let kept: Vec<String> = kept.into_iter().collect();
            let told = &mut envoy.metadata.get_or_insert_default().filter_metadata;
            let fields = &mut told.entry(QUOTAS.to_owned()).or_default().fields;
            fields.insert("keep".to_owned(), orders_text(&kept.join(",")));
        }
        let orders = limits::orders(&all, quotas, &route, self.service).into_iter();
        envoy.typed_per_filter_config.extend(orders.map(|(name, order)| (name.to_owned(), order)));
        if let Some(traffic) = self.rule.traffic {
            traffic.route.apply(envoy);
            envoy.stat_prefix = traffic.route.stat_prefix(self.route, rule);
        }
    }

    /// The quotas of a backend for a model, as far as the route knows which model its server is asked for.
    pub(crate) fn quotas(&self, backend: &ObjectId, model: Option<&str>) -> Vec<&limits::Rule> {
        let rules = self.limiting.iter().filter_map(|traffic| traffic.limits.as_ref()).flat_map(|limits| &limits.rules);
        let about = rules.filter(|rule| {
            let about = rule.about.as_ref().filter(|about| about.backend == *backend);
            about.is_some_and(|about| match (&about.model, model) {
                (Some(quoted), Some(model)) => quoted == model,
                _ => true,
            })
        });
        about.collect()
    }

    /// The orders by which answers are counted; none where nobody wants to know.
    pub(crate) fn counting(&self) -> Option<Metadata> {
        let costs = self.costs.as_ref().filter(|costs| !costs.is_empty())?;
        Some(costs.orders(self.route))
    }

    /// What limits hold of a request before it is answered.
    pub(crate) fn estimates(&self) -> Vec<Estimate> {
        let own = self.rule.traffic.and_then(|traffic| traffic.limits.as_ref());
        let all = own.into_iter().chain(self.limiting.iter().filter_map(|traffic| traffic.limits.as_ref()));
        let needed = all.flat_map(Limits::costed);
        needed.filter_map(|needed| self.costs.as_ref()?.estimate(&needed.key)).collect()
    }

    /// Puts on a route only what says who may come in.
    pub(crate) fn guard(&self, envoy: &mut Route) {
        let orders = self.rule.security.iter().flat_map(|security| &security.orders);
        envoy.typed_per_filter_config.extend(orders.map(|(name, order)| ((*name).to_owned(), order.clone())));
    }

    pub(crate) fn apply_to_action(&self, action: &mut RouteAction) {
        if let Some(traffic) = self.rule.traffic {
            traffic.route.apply_to_action(action);
        }
    }
}
