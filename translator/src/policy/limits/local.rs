//! Limits that each Envoy counts by itself: token buckets, one for a rule or for each value that a rule tells apart.

use std::time::Duration;

use kinds::envoy_gateway::{RateLimitRule, RateLimitRules, RateLimitUnit, XRateLimitHeaders};
use kinds::{FieldPath, ObjectId};
use xds_api::any;
use xds_api::envoy::config::core::v3::RuntimeFractionalPercent;
use xds_api::envoy::config::route::v3::RateLimit;
use xds_api::envoy::config::route::v3::rate_limit::HitsAddend;
use xds_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use xds_api::envoy::extensions::common::ratelimit::v3::{LocalRateLimitDescriptor, XRateLimitHeadersRfcVersion};
use xds_api::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use xds_api::envoy::r#type::v3::TokenBucket;
use xds_api::google::protobuf::{Any, UInt64Value};

use super::condition::{Condition, generic};
use super::rule::{Hits, Rule};
use crate::policy::Problem;
use crate::render::build::{boolean, duration, millionths, uint32};

/// Counters for values that clients bring: the least recently used go first.
const MOST_VALUES: u32 = 10_000;

pub(super) fn orders(policy: &ObjectId, written: &RateLimitRules, base: &FieldPath) -> Result<Option<Any>, Problem> {
    if written.rules.is_empty() {
        return Ok(None);
    }
    let always = || RuntimeFractionalPercent {
        default_value: Some(millionths(1_000_000)),
        ..RuntimeFractionalPercent::default()
    };
    let mut local = LocalRateLimit {
        stat_prefix: format!("local-limits.{}.{}", policy.namespace, policy.name),
        filter_enabled: Some(always()),
        filter_enforced: Some(always()),
        enable_x_ratelimit_headers: XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
        always_consume_default_token_bucket: Some(boolean(false)),
        max_dynamic_descriptors: Some(uint32(MOST_VALUES)),
        ..LocalRateLimit::default()
    };
    for (index, written) in written.rules.iter().enumerate() {
        let path = base.index(index);
        unsupported(written, &path)?;
        if written.x_rate_limit_headers == Some(XRateLimitHeaders::Off) {
            local.enable_x_ratelimit_headers = XRateLimitHeadersRfcVersion::Off as i32;
        }
        let rule = Rule::read(policy, &path, written)?;
        if rule.conditions.is_empty() {
            if local.token_bucket.is_some() {
                return Err(Problem::unsupported(
                    path,
                    "one rule can be for all requests: Envoy has one counter for it",
                ));
            }
            local.token_bucket = Some(bucket(&rule));
            continue;
        }
        let mut actions = vec![generic("rule", &rule.id)];
        actions.extend(rule.conditions.iter().map(Condition::action));
        let Hits::Number(hits) = rule.request else { return Err(only_numbers(&path)) };
        local.rate_limits.push(RateLimit {
            actions,
            hits_addend: (hits != 1)
                .then(|| HitsAddend { number: Some(UInt64Value { value: hits.into() }), ..HitsAddend::default() }),
            ..RateLimit::default()
        });
        let mut entries = vec![Entry { key: "rule".to_owned(), value: rule.id.clone() }];
        entries.extend(rule.conditions.iter().map(|condition| {
            let (key, value) = condition.entry();
            Entry { key, value: value.unwrap_or_default().to_owned() }
        }));
        local.descriptors.push(LocalRateLimitDescriptor {
            entries,
            token_bucket: Some(bucket(&rule)),
            ..LocalRateLimitDescriptor::default()
        });
    }
    // Requests that no rule is for are not counted.
    let unlimited = TokenBucket {
        max_tokens: u32::MAX,
        tokens_per_fill: Some(uint32(u32::MAX)),
        fill_interval: Some(duration(Duration::from_secs(1))),
    };
    local.token_bucket.get_or_insert(unlimited);
    Ok(Some(any(&local)))
}

fn unsupported(written: &RateLimitRule, path: &FieldPath) -> Result<(), Problem> {
    let refused = |field: &str, message: &str| Err(Problem::unsupported(path.field(field), message));
    if written.shared == Some(true) {
        return refused("shared", "each Envoy counts by itself, and each route apart");
    }
    if written.shadow_mode == Some(true) {
        return refused("shadowMode", "a local limit is in force or absent");
    }
    if written.limit.from_metadata.is_some() {
        return refused("limit.fromMetadata", "a local limit is the same for all requests");
    }
    if written.limit.requests == 0 {
        return refused("limit.requests", "a local limit lets at least one request through");
    }
    let Some(cost) = &written.cost else { return Ok(()) };
    if cost.response.is_some() {
        return refused("cost.response", "a local limit counts requests when they come");
    }
    match cost.request.as_ref() {
        Some(request) if request.metadata.is_some() => Err(only_numbers(path)),
        Some(request) if request.number != Some(1) && written.client_selectors.is_empty() => {
            refused("cost.request", "a rule for all requests counts each as one")
        }
        Some(request) if request.number == Some(0) => refused("cost.request", "what costs nothing is not limited"),
        _ => Ok(()),
    }
}

fn only_numbers(path: &FieldPath) -> Problem {
    Problem::unsupported(path.field("cost.request.metadata"), "a local limit counts by numbers")
}

fn bucket(rule: &Rule) -> TokenBucket {
    let seconds = match rule.unit {
        RateLimitUnit::Second => 1,
        RateLimitUnit::Minute => 60,
        RateLimitUnit::Hour => 3_600,
        RateLimitUnit::Day => 86_400,
        RateLimitUnit::Week => 7 * 86_400,
        RateLimitUnit::Month => 30 * 86_400,
        RateLimitUnit::Year => 365 * 86_400,
    };
    TokenBucket {
        max_tokens: rule.requests,
        tokens_per_fill: Some(uint32(rule.requests)),
        fill_interval: Some(duration(Duration::from_secs(seconds))),
    }
}
