//! The configuration of the rate limit service: the rules of all policies that are in force somewhere, in one domain.

use std::collections::BTreeMap;

use bytes::Bytes;
use kinds::envoy_gateway::RateLimitUnit as Written;
use kinds::{Diagnostic, FieldPath, ObjectId};
use prost::Message;
use xds_api::ratelimit::config::ratelimit::v3::{RateLimitDescriptor, RateLimitPolicy, RateLimitUnit};
use xds_api::{Resource, ResourceType};

use super::Rule;
use crate::diagnostics::place;
use crate::engine::{Made as _, Outcome, Product, View};
use crate::options::LimitService;
use crate::policy::Traffic;

pub(crate) const DOMAIN: &str = "chancery";

/// `RateLimitConfig` by its field numbers, with descriptors as the bytes they arrive in.
#[derive(Clone, PartialEq, prost::Message)]
struct RawConfig {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    descriptors: Vec<Bytes>,
}

pub(crate) fn evaluate(view: &View<'_>) -> Outcome {
    // A policy may be in force by itself here and merged there: its rules are the same.
    let mut rules: BTreeMap<&str, Bytes> = BTreeMap::new();
    for unit in view.demanders() {
        let limits = view.made_by::<Traffic>(unit).and_then(|traffic| traffic.limits.as_ref());
        for rule in limits.iter().flat_map(|limits| &limits.rules) {
            rules.entry(&rule.id).or_insert_with(|| descriptor(rule).encode_to_vec().into());
        }
    }
    if rules.is_empty() {
        return Outcome::default();
    }
    let diagnostics = too_large(&rules, view).into_iter().collect();
    let product = Product::Resource(config(rules.into_values().collect()));
    Outcome { product, demands: Vec::new(), diagnostics }
}

fn config(descriptors: Vec<Bytes>) -> Resource {
    let config = RawConfig { name: DOMAIN.to_owned(), domain: DOMAIN.to_owned(), descriptors };
    Resource::encode(ResourceType::RateLimitConfig, DOMAIN, &config)
}

/// What says that there are no limits to a service that takes silence for not having heard of them yet.
#[must_use]
pub fn no_limits() -> Resource {
    config(Vec::new())
}

/// The stock service takes no more in one message, and says nothing when there is more.
pub const MOST_BYTES: usize = (4 << 20) - (16 << 10);

/// A finding about the policy that has the largest part in a configuration that the stock service cannot take.
fn too_large(rules: &BTreeMap<&str, Bytes>, view: &View<'_>) -> Option<Diagnostic> {
    if matches!(view.options.limits, LimitService::Embedded(_)) {
        return None;
    }
    let total: usize = rules.values().map(|rule| rule.len() + 5).sum();
    if total < MOST_BYTES * 3 / 4 {
        return None;
    }
    let mut parts: BTreeMap<&ObjectId, usize> = BTreeMap::new();
    for unit in view.demanders() {
        let limits = view.made_by::<Traffic>(unit).and_then(|traffic| traffic.limits.as_ref());
        for rule in limits.iter().flat_map(|limits| &limits.rules) {
            *parts.entry(&rule.policy).or_default() += rules.get(rule.id.as_str()).map_or(0, Bytes::len);
        }
    }
    let (policy, _) = parts.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    let at = place(view.object(policy)?, "spec");
    let words = format!("all limits together are {total} bytes: the stock service takes {MOST_BYTES} at most");
    let finding = if total > MOST_BYTES {
        Diagnostic::error("limits-too-large", at, words).help("the limits that it was told before stay in force")
    } else {
        Diagnostic::warning("limits-too-large", at, words)
    };
    Some(finding.about(policy))
}

/// A rule as its author knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitRule {
    /// The value of the entry `rule` of its counters.
    pub id: String,
    pub policy: ObjectId,
    pub path: FieldPath,
}

/// The rules that are in force by what the units of policies made.
pub(crate) fn told<'a>(made: impl Iterator<Item = &'a Product>) -> Vec<LimitRule> {
    let limits = made.filter_map(|product| Traffic::of(product)?.limits.as_ref());
    let rule = |rule: &Rule| LimitRule { id: rule.id.clone(), policy: rule.policy.clone(), path: rule.path.clone() };
    let mut rules: Vec<LimitRule> = limits.flat_map(|limits| limits.rules.iter().map(rule)).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// The way to a rule's limit, entry by entry, as its requests describe themselves.
fn descriptor(rule: &Rule) -> RateLimitDescriptor {
    let mut steps = vec![("rule".to_owned(), Some(rule.id.clone()))];
    if !rule.shared {
        steps.push(("route".to_owned(), None));
    }
    if let Some(about) = &rule.about {
        steps.push(("backend".to_owned(), Some(about.backend_name())));
        steps.extend(about.model.iter().map(|model| ("model".to_owned(), Some(model.to_string()))));
    }
    steps.extend(rule.conditions.iter().map(|condition| {
        let (key, value) = condition.entry();
        (key, value.map(ToOwned::to_owned))
    }));
    let limit = RateLimitPolicy {
        unit: unit(rule.unit) as i32,
        requests_per_unit: rule.requests,
        ..RateLimitPolicy::default()
    };
    let mut inner: Option<RateLimitDescriptor> = None;
    for (key, value) in steps.into_iter().rev() {
        let mut step = RateLimitDescriptor { key, value: value.unwrap_or_default(), ..RateLimitDescriptor::default() };
        match inner {
            Some(below) => step.descriptors.push(below),
            None => {
                step.rate_limit = Some(limit.clone());
                step.shadow_mode = rule.shadow;
                step.quota_mode = rule.about.is_some();
            }
        }
        inner = Some(step);
    }
    inner.unwrap_or_default()
}

fn unit(written: Written) -> RateLimitUnit {
    match written {
        Written::Second => RateLimitUnit::Second,
        Written::Minute => RateLimitUnit::Minute,
        Written::Hour => RateLimitUnit::Hour,
        Written::Day => RateLimitUnit::Day,
        Written::Week => RateLimitUnit::Week,
        Written::Month => RateLimitUnit::Month,
        Written::Year => RateLimitUnit::Year,
    }
}
