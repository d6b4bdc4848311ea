//! The orders of a route for the rate limit filter.

use std::collections::BTreeSet;

use kinds::ObjectId;
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::route::v3::RateLimit;
use xds_api::envoy::config::route::v3::rate_limit::action::{ActionSpecifier, MetaData};
use xds_api::envoy::config::route::v3::rate_limit::r#override::{DynamicMetadata, OverrideSpecifier};
use xds_api::envoy::config::route::v3::rate_limit::{Action, HitsAddend, Override, XRateLimitOption};
use xds_api::envoy::extensions::filters::http::ratelimit::v3::RateLimitPerRoute;
use xds_api::google::protobuf::{Any, UInt64Value};

use super::condition::{Condition, generic, metadata_key};
use super::kept::action as kept_action;
use super::service::DOMAIN;
use super::{Hits, Limits, Place, Rule, route_name};
use crate::ai::{COSTS, Costs};
use crate::options::LimitService;
use crate::policy::Problem;
use crate::render::filters::limits;

/// The key by which the embedded service knows a reservation.
const RESERVE: &str = "chancery.reserve";

/// A route, as far as limits look at it.
pub(crate) struct Route<'a> {
    pub id: &'a ObjectId,
    /// What its requests cost; none for routes that know nothing of models.
    pub costs: Option<&'a Costs>,
}

/// A cost that a limit needs and its route does not produce.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Costed<'a> {
    pub rule: &'a Rule,
    pub key: SmolStr,
}

impl Limits {
    /// The costs that the rules need on a route and that its author does not list.
    pub(crate) fn unproduced(&self, costs: &Costs) -> Vec<Costed<'_>> {
        self.costed().filter(|needed| !costs.lists(&needed.key)).collect()
    }

    /// The costs that the rules need.
    pub(crate) fn costed(&self) -> impl Iterator<Item = Costed<'_>> {
        self.rules.iter().filter_map(|rule| match &rule.response {
            Some(Hits::Noted(place)) if place.namespace == COSTS => {
                Some(Costed { rule, key: place.key.as_str().into() })
            }
            _ => None,
        })
    }

    /// What the service in use cannot be told.
    pub(crate) fn problems(&self, service: &LimitService) -> Vec<Problem> {
        if matches!(service, LimitService::Embedded(_)) {
            return Vec::new();
        }
        let brought = self.rules.iter().filter(|rule| rule.brought.is_some());
        let message = "a limit without a valid unit that a request brings along ends the stock service, for everyone";
        brought.map(|rule| Problem::unsupported(rule.path.field("limit").field("fromMetadata"), message)).collect()
    }
}

/// The quota of a backend, as a route asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub rule: &'a Rule,
    /// Whether the route says which model the server is asked for; else the request does.
    pub model_known: bool,
    /// Whether the route leads to this backend alone.
    pub sole: bool,
}

/// The orders of a route: of the policies that limit its requests, and of the quotas of its backends.
pub(crate) fn orders(
    all: &[&Limits],
    quotas: &[Asked<'_>],
    route: &Route<'_>,
    service: &LimitService,
) -> Vec<(&'static str, Any)> {
    let mut orders: Vec<(&'static str, Any)> = Vec::new();
    let rules = all.iter().flat_map(|limits| &limits.rules);
    let mut rate_limits: Vec<RateLimit> =
        rules.flat_map(|rule| asked(rule, &[], &[], route, matches!(service, LimitService::Embedded(_)))).collect();
    for quota in quotas {
        let Some(about) = &quota.rule.about else { continue };
        let model = |model: &SmolStr| {
            if quota.model_known { generic("model", model) } else { Condition::EachModel.action() }
        };
        let model: Vec<Action> = about.model.iter().map(model).collect();
        let expected = [vec![generic("backend", &about.backend_name())], model.clone()].concat();
        let met = [vec![noted("backend")], model].concat();
        let reserves = quota.sole && matches!(service, LimitService::Embedded(_));
        rate_limits.extend(asked(quota.rule, &expected, &met, route, reserves));
    }
    if !rate_limits.is_empty() {
        let per_route = RateLimitPerRoute { domain: DOMAIN.to_owned(), rate_limits, ..RateLimitPerRoute::default() };
        let closed = all.iter().any(|limits| limits.closed);
        orders.push((if closed { limits::CLOSED } else { limits::OPEN }, any(&per_route)));
    }
    let local = all.iter().find_map(|limits| limits.local.as_ref());
    orders.extend(local.map(|order| (limits::LOCAL, order.clone())));
    orders
}

/// The headers that are needed again when a request is over, because a service is asked then.
pub(crate) fn kept(all: &[&Limits], quotas: &[Asked<'_>], service: &LimitService) -> BTreeSet<String> {
    let embedded = matches!(service, LimitService::Embedded(_));
    let of_requests = all.iter().flat_map(|limits| &limits.rules).filter(|rule| match &rule.response {
        Some(Hits::Noted(_)) => !embedded,
        Some(Hits::Number(_)) => true,
        None => false,
    });
    let of_backends = quotas.iter().filter(|quota| !(quota.sole && embedded)).map(|quota| quota.rule);
    let mut names = BTreeSet::new();
    for condition in of_requests.chain(of_backends).flat_map(|rule| &rule.conditions) {
        super::kept::headers(condition, &mut names);
    }
    names
}

/// What the script noted about the request, as an entry.
fn noted(key: &str) -> Action {
    Action {
        action_specifier: Some(ActionSpecifier::Metadata(MetaData {
            descriptor_key: key.to_owned(),
            metadata_key: Some(metadata_key(crate::ai::METADATA, key)),
            ..MetaData::default()
        })),
    }
}

/// What the service is asked for a rule: when the request comes, and when it is over. What a rule is about is expected at
/// first, and known at the end.
fn asked(rule: &Rule, expected: &[Action], met: &[Action], route: &Route<'_>, reserves: bool) -> Vec<RateLimit> {
    let actions = |about: &[Action], condition: fn(&Condition) -> Action| {
        let mut actions = vec![generic("rule", &rule.id)];
        if !rule.shared {
            actions.push(generic("route", &route_name(route.id)));
        }
        actions.extend_from_slice(about);
        actions.extend(rule.conditions.iter().map(condition));
        actions
    };
    let asking = |hits: HitsAddend| RateLimit {
        actions: actions(expected, Condition::action),
        hits_addend: Some(hits),
        limit: rule.brought.as_ref().map(brought),
        x_ratelimit_option: rule.headers as i32,
        ..RateLimit::default()
    };
    let check = asking(addend(&rule.request));
    let Some(response) = &rule.response else { return vec![check] };
    let reserved = match response {
        Hits::Noted(place) if reserves => Some(place),
        Hits::Noted(_) | Hits::Number(_) => None,
    };
    let Some(place) = reserved else {
        let debit =
            RateLimit { apply_on_stream_done: true, actions: actions(met, kept_action), ..asking(addend(response)) };
        return vec![check, debit];
    };
    // Who knows nothing of tokens spends none: a route that is not of models is only checked.
    let estimate = match (place.namespace == COSTS, route.costs) {
        (false, _) => HitsAddend { number: Some(number(0)), ..HitsAddend::default() },
        (true, Some(costs)) => match costs.estimate(&place.key) {
            Some(estimate) => HitsAddend { format: estimate.format(), ..HitsAddend::default() },
            None => HitsAddend { number: Some(number(0)), ..HitsAddend::default() },
        },
        (true, None) => return vec![check],
    };
    let mut reserve = asking(estimate);
    reserve.actions.push(reservation(place));
    if rule.request == Hits::Number(0) {
        return vec![reserve];
    }
    // One limit is told once.
    let charge = RateLimit { x_ratelimit_option: XRateLimitOption::Off as i32, ..check };
    vec![charge, reserve]
}

fn reservation(place: &Place) -> Action {
    generic(RESERVE, &format!("{}:{}", place.namespace, place.key))
}

fn number(value: u32) -> UInt64Value {
    UInt64Value { value: value.into() }
}

fn addend(hits: &Hits) -> HitsAddend {
    match hits {
        Hits::Number(hits) => HitsAddend { number: Some(number(*hits)), ..HitsAddend::default() },
        Hits::Noted(Place { namespace, key }) => {
            HitsAddend { format: format!("%DYNAMIC_METADATA({namespace}:{key})%"), ..HitsAddend::default() }
        }
    }
}

fn brought(place: &Place) -> Override {
    let metadata = DynamicMetadata { metadata_key: Some(metadata_key(&place.namespace, &place.key)) };
    Override { override_specifier: Some(OverrideSpecifier::DynamicMetadata(metadata)) }
}
