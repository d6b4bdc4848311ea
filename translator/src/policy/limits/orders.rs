//! The orders of a route for the rate limit filter.

use kinds::ObjectId;
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::route::v3::RateLimit;
use xds_api::envoy::config::route::v3::rate_limit::r#override::{DynamicMetadata, OverrideSpecifier};
use xds_api::envoy::config::route::v3::rate_limit::{Action, HitsAddend, Override, XRateLimitOption};
use xds_api::envoy::extensions::filters::http::ratelimit::v3::RateLimitPerRoute;
use xds_api::google::protobuf::{Any, UInt64Value};

use super::condition::{generic, metadata_key};
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
        let needed = self.rules.iter().filter_map(|rule| match &rule.response {
            Some(Hits::Noted(place)) if place.namespace == COSTS => {
                Some(Costed { rule, key: place.key.as_str().into() })
            }
            _ => None,
        });
        needed.filter(|needed| !costs.lists(&needed.key)).collect()
    }

    pub(crate) fn orders(&self, route: &Route<'_>, service: &LimitService) -> Vec<(&'static str, Any)> {
        let mut orders: Vec<(&'static str, Any)> = Vec::new();
        let rate_limits: Vec<RateLimit> = self.rules.iter().flat_map(|rule| asked(rule, route, service)).collect();
        if !rate_limits.is_empty() {
            let per_route =
                RateLimitPerRoute { domain: DOMAIN.to_owned(), rate_limits, ..RateLimitPerRoute::default() };
            let filter = if self.closed { limits::CLOSED } else { limits::OPEN };
            orders.push((filter, any(&per_route)));
        }
        orders.extend(self.local.iter().map(|order| (limits::LOCAL, order.clone())));
        orders
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

/// What the service is asked for a rule: when the request comes, and when it is over.
fn asked(rule: &Rule, route: &Route<'_>, service: &LimitService) -> Vec<RateLimit> {
    let mut actions = vec![generic("rule", &rule.id)];
    if !rule.shared {
        actions.push(generic("route", &route_name(route.id)));
    }
    actions.extend(rule.conditions.iter().map(super::condition::Condition::action));
    let asking = |hits: HitsAddend| RateLimit {
        actions: actions.clone(),
        hits_addend: Some(hits),
        limit: rule.brought.as_ref().map(brought),
        x_ratelimit_option: rule.headers as i32,
        ..RateLimit::default()
    };
    let check = asking(addend(&rule.request));
    let Some(response) = &rule.response else { return vec![check] };
    let reserved = match response {
        Hits::Noted(place) if matches!(service, LimitService::Embedded(_)) => Some(place),
        Hits::Noted(_) | Hits::Number(_) => None,
    };
    let Some(place) = reserved else {
        let debit = RateLimit { apply_on_stream_done: true, ..asking(addend(response)) };
        return vec![check, debit];
    };
    // Who knows nothing of tokens spends none: a route that is not of models is only checked.
    let estimate = match (place.namespace == COSTS, route.costs) {
        (false, _) => HitsAddend { number: Some(number(0)), ..HitsAddend::default() },
        (true, Some(costs)) => match costs.estimate(&place.key) {
            Some(format) => HitsAddend { format, ..HitsAddend::default() },
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
