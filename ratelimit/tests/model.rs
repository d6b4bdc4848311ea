//! The service against a naive model of the same rules, over random calls, times and edits.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Ask, NOW, ask, brief, call, config};
use proptest::prelude::*;
use ratelimit::{Options, RateLimiter};

#[derive(Clone, Debug)]
struct Rule {
    value: Option<&'static str>,
    unit: usize,
    requests: u32,
    shadow: bool,
    quota: bool,
}

const UNITS: [(&str, u64); 3] = [("SECOND", 1), ("MINUTE", 60), ("HOUR", 3600)];
const VALUES: [&str; 3] = ["a", "b", "c"];

fn rule() -> impl Strategy<Value = Rule> {
    let value = prop::option::of(prop::sample::select(&VALUES[..]));
    (value, 0..3_usize, 0..6_u32, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(value, unit, requests, shadow, quota)| Rule { value, unit, requests, shadow, quota })
}

/// Which descriptors are asked about, by value, and with how many hits (`None`: one; negative: given back).
type Call = Vec<(&'static str, Option<i64>)>;

#[derive(Clone, Debug)]
enum Step {
    Call(Call),
    Later(u64),
    Edit(Vec<Rule>),
}

fn step() -> impl Strategy<Value = Step> {
    let call = prop::collection::vec((prop::sample::select(&VALUES[..]), prop::option::of(-3..4_i64)), 1..4);
    prop_oneof![
        8 => call.prop_map(Step::Call),
        2 => (1..90_u64).prop_map(Step::Later),
        1 => prop::collection::vec(rule(), 0..4).prop_map(Step::Edit),
    ]
}

fn resource(rules: &[Rule]) -> xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig {
    let mut text = String::from("domain: d\ndescriptors:\n");
    for rule in distinct(rules) {
        text += &format!(
            "- {{key: k, value: '{}', shadow_mode: {}, quota_mode: {}, rate_limit: {{unit: {}, requests_per_unit: {}}}}}\n",
            rule.value.unwrap_or_default(),
            rule.shadow,
            rule.quota,
            UNITS[rule.unit].0,
            rule.requests,
        );
    }
    config(&text)
}

fn distinct(rules: &[Rule]) -> Vec<Rule> {
    let mut seen = BTreeMap::new();
    for rule in rules {
        seen.entry(rule.value).or_insert_with(|| rule.clone());
    }
    seen.into_values().collect()
}

/// The rules as one would write them down: a map from value, unit and window to hits.
#[derive(Default)]
struct Model {
    rules: Vec<Rule>,
    counts: BTreeMap<(&'static str, usize, u64), u64>,
}

impl Model {
    fn call(&mut self, call: &Call, now: u64) -> String {
        let mut statuses = String::new();
        let (mut over_any, mut quotas, mut quotas_over) = (false, 0, 0);
        for (value, hits) in call {
            let rule = self
                .rules
                .iter()
                .find(|r| r.value == Some(value))
                .or_else(|| self.rules.iter().find(|r| r.value.is_none()));
            let Some(rule) = rule else {
                statuses += " [ok 0]";
                continue;
            };
            let size = UNITS[rule.unit].1;
            let count = self.counts.entry((value, rule.unit, now / size)).or_default();
            let limit = u64::from(rule.requests);
            let over = match hits.unwrap_or(1) {
                0 => *count >= limit,
                hits if hits < 0 => {
                    *count = count.saturating_sub(hits.unsigned_abs());
                    *count > limit
                }
                hits => {
                    *count += hits.unsigned_abs();
                    *count > limit
                }
            };
            let left = if over { 0 } else { limit - *count };
            let refused = over && !rule.shadow;
            if rule.quota {
                quotas += 1;
                quotas_over += i32::from(refused);
            } else {
                over_any |= refused;
            }
            statuses += &format!(" [{} {left}/{limit} {}s]", if refused { "OVER" } else { "ok" }, size - now % size);
        }
        let over = over_any || (quotas > 0 && quotas == quotas_over);
        format!("{}{statuses}", if over { "OVER" } else { "ok" })
    }
}

fn asks(call: &Call) -> Vec<Ask> {
    let one = |(value, hits): &(&'static str, Option<i64>)| {
        let ask = ask(&[("k", *value)]);
        match hits {
            None => ask,
            Some(hits) if *hits < 0 => ask.refund(hits.unsigned_abs()),
            Some(hits) => ask.hits(hits.unsigned_abs()),
        }
    };
    call.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_model_does(rules in prop::collection::vec(rule(), 1..5), steps in prop::collection::vec(step(), 1..60)) {
        let limiter = RateLimiter::new(&Options::default());
        let mut model = Model { rules: distinct(&rules), ..Model::default() };
        limiter.apply(&[resource(&rules)]);
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Call(asked) => prop_assert_eq!(brief(&call(&limiter, &asks(&asked), now)), model.call(&asked, now)),
                Step::Later(seconds) => now += seconds,
                Step::Edit(rules) => {
                    limiter.apply(&[resource(&rules)]);
                    model.rules = distinct(&rules);
                }
            }
        }
    }
}
