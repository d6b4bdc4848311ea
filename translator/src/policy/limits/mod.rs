//! Limits: how often requests may come and how much they may cost.
//!
//! ```text
//! policy --Rule--> descriptors of the service (one domain, its own unit)
//!             \--> orders of routes for the rate limit filter: check, and reserve or debit
//! ```
//!
//! - All rules stand in one domain, so that a request makes one call however many policies have a say in it.
//! - A rule is known by the policy that holds it and by what it counts; its counters outlive a changed limit, a new place
//!   in the list, and every edit of other rules. Unless it is shared, each route has a counter of its own.
//! - With the embedded service a cost that only the response knows is *reserved*: the check holds an estimate, and the
//!   access log settles it. The stock service is asked a second time when the request is over.
//! - A limit whose cost nobody produces would never be reached: the route that it is about is closed, or the cost is
//!   produced where its name says what it is.

mod condition;
mod kept;
mod local;
mod orders;
mod quota;
mod rule;
mod service;

use std::collections::BTreeMap;

use kinds::envoy_gateway::BackendTrafficPolicySpec;
use kinds::{FieldPath, ObjectId};
use smol_str::SmolStr;
use xds_api::google::protobuf::Any;

pub(crate) use orders::{Asked, Costed, Route, kept, orders};
pub(crate) use quota::of_limiting;
pub(crate) use rule::{Hits, Place, Rule};
pub use service::no_limits;
pub(crate) use service::{DOMAIN, evaluate as evaluate_domain, told};
pub use service::{LimitRule, MOST_BYTES};

use super::Problem;
use crate::engine::View;
use crate::names::Chain;

/// Closes the routes of a policy while nobody can be asked, instead of leaving them without limits.
pub(crate) const UNREACHABLE: &str = "chancery.dev/limits-unreachable";

/// What a policy, or a merge of two, limits. Merged, the rules of both are in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub rules: Vec<Rule>,
    /// Refuses requests while the service cannot be asked.
    pub closed: bool,
    /// Orders for Envoy's own counters.
    pub local: Option<Any>,
    /// Costs that the rules are in, each the body of a function of the script that counts.
    pub costs: BTreeMap<SmolStr, String>,
}

/// None where nothing is limited.
pub(crate) fn of(chain: &Chain, view: &View<'_>, problems: &mut Vec<Problem>) -> Option<Limits> {
    let mut limits = Limits::default();
    let mut local = None;
    for policy in &chain.0 {
        let Some(object) = view.object(policy) else { continue };
        let written = object.spec::<BackendTrafficPolicySpec>().and_then(|spec| spec.rate_limit.as_ref());
        let Some(written) = written else { continue };
        if let Some(value) = object.meta.annotations.get(UNREACHABLE) {
            match value.as_str() {
                "deny" => limits.closed = true,
                "allow" => {}
                other => problems.push(Problem::wrong(
                    FieldPath::from("metadata.annotations"),
                    format!("{UNREACHABLE} is `allow` or `deny`, not `{other}`"),
                )),
            }
        }
        let base = FieldPath::from("spec.rateLimit");
        let global = written.global.iter().flat_map(|global| global.rules.iter().enumerate());
        for (index, rule) in global {
            match Rule::read(policy, &base.field("global").field("rules").index(index), rule) {
                Ok(rule) => limits.add(rule),
                Err(problem) => problems.push(problem),
            }
        }
        // Envoy counts in one place for a route: the more specific policy's rules stand alone.
        local = local.or_else(|| written.local.as_ref().map(|rules| (policy, rules)));
    }
    if let Some((policy, rules)) = local {
        match local::orders(policy, rules, &FieldPath::from("spec.rateLimit.local.rules")) {
            Ok(orders) => limits.local = orders,
            Err(problem) => problems.push(problem),
        }
    }
    (!limits.rules.is_empty() || limits.local.is_some()).then_some(limits)
}

impl Limits {
    /// Two rules that count the same stand beside each other: the second has a number.
    fn add(&mut self, mut rule: Rule) {
        let same = |id: &str| self.rules.iter().any(|other| other.id == id);
        if same(&rule.id) {
            let numbered = |number: usize| format!("{}-{number}", rule.id);
            let mut number = 2;
            while same(&numbered(number)) {
                number += 1;
            }
            rule.id = numbered(number);
        }
        self.rules.push(rule);
    }
}

/// How a route is called in the entries of its counters.
pub(crate) fn route_name(route: &ObjectId) -> String {
    format!("{}/{}/{}", route.kind.info().plural, route.namespace, route.name)
}
