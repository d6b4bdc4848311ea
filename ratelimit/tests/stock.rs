//! The same random calls to this service and to the stock one with a Redis, with edits in between; every answer
//! compared. `RATELIMIT_CALLS` says how many calls, `RATELIMIT_SEED` repeats a run.
//!
//! Left out is what this service does otherwise on purpose: entries whose joined texts meet, refunds, wrap-around,
//! overrides without a unit. Of the checks with 0 hits the answer at the limit is known to differ, and how.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/stock.rs"]
mod stock;

use std::collections::BTreeSet;

use common::{Ask, ask, config};
use ratelimit::{Options, RateLimiter, Seconds, Unit};
use stock::{Client, Stock};
use xds_api::envoy::service::ratelimit::v3::rate_limit_response::Code;
use xds_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Xorshift: repeatable, and good enough to mix calls.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }
}

/// Units whose window neither ends during the run nor begins together with another's: the stock service tells counters
/// of different units apart by nothing else.
fn units(now: Seconds) -> Vec<Unit> {
    let mut starts = BTreeSet::new();
    let steady = [Unit::Year, Unit::Month, Unit::Week, Unit::Day, Unit::Hour];
    steady.into_iter().filter(|unit| unit.until_reset(now) > 600 && starts.insert(unit.window(now))).collect()
}

const KEYS: [&str; 4] = ["k", "tenant", "model", "x-path"];
const VALUES: [&str; 8] = ["a", "b", "abc", "az", "org/m:1", "日本", "*", ""];
const PATTERNS: [&str; 4] = ["a*", "ab*", "*", "org/*"];

/// A random domain. `version` can be read back from the limit of its descriptor `probe`.
fn domain(dice: &mut Dice, units: &[Unit], version: u32) -> RateLimitConfig {
    let mut resource = config(&format!(
        "{{name: d, domain: d, descriptors: [{{key: probe, rate_limit: {{unit: YEAR, requests_per_unit: {version}}}}}]}}"
    ));
    resource.descriptors.extend(level(dice, units, 0));
    resource
}

fn level(
    dice: &mut Dice,
    units: &[Unit],
    depth: u64,
) -> Vec<xds_api::ratelimit::config::ratelimit::v3::RateLimitDescriptor> {
    use xds_api::ratelimit::config::ratelimit::v3::{RateLimitDescriptor, RateLimitPolicy, RateLimitReplace};
    let mut taken = BTreeSet::new();
    let mut descriptors = Vec::new();
    for _ in 0..=dice.roll(6) {
        let key = dice.pick(&KEYS);
        let value = if dice.one_in(4) { dice.pick(&PATTERNS) } else { dice.pick(&VALUES) };
        if !taken.insert((key, value)) {
            continue;
        }
        let unlimited = dice.one_in(8);
        let name = dice.pick(&["", "", "one", "two"]);
        let replaces = if dice.one_in(5) { dice.pick(&["one", "two", "three"]) } else { "" };
        let policy = RateLimitPolicy {
            unit: if unlimited { 0 } else { units[usize::try_from(dice.roll(units.len() as u64)).unwrap()].number() },
            requests_per_unit: u32::try_from(dice.roll(40)).unwrap(),
            unlimited,
            name: name.into(),
            replaces: if replaces.is_empty() || replaces == name {
                Vec::new()
            } else {
                vec![RateLimitReplace { name: replaces.into() }]
            },
        };
        descriptors.push(RateLimitDescriptor {
            key: key.into(),
            value: value.into(),
            rate_limit: (!dice.one_in(5)).then_some(policy),
            descriptors: if depth < 2 && dice.one_in(2) { level(dice, units, depth + 1) } else { Vec::new() },
            shadow_mode: dice.one_in(6),
            detailed_metric: dice.one_in(8),
            ..RateLimitDescriptor::default()
        });
    }
    descriptors
}

/// Entries that lead somewhere, most of the time: down the tree, with values that fit or nearly do.
fn entries<'a>(dice: &mut Dice, resource: &'a RateLimitConfig) -> Vec<(&'a str, String)> {
    if dice.one_in(4) {
        return (0..=dice.roll(3)).map(|_| (dice.pick(&KEYS), dice.pick(&VALUES).to_owned())).collect();
    }
    let mut entries = Vec::new();
    let mut level = &resource.descriptors;
    while !level.is_empty() && (entries.is_empty() || !dice.one_in(3)) {
        let descriptor = &level[usize::try_from(dice.roll(level.len() as u64)).unwrap()];
        let value = match descriptor.value.as_str() {
            "" => dice.pick(&VALUES).to_owned(),
            value => value.replace('*', dice.pick(&["", "b", "bc"])),
        };
        entries.push((descriptor.key.as_str(), value));
        level = &descriptor.descriptors;
    }
    entries
}

fn random_ask(dice: &mut Dice, units: &[Unit], resource: &RateLimitConfig) -> Ask {
    let entries = entries(dice, resource);
    let entries: Vec<(&str, &str)> = entries.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut random = ask(&entries);
    if dice.one_in(3) {
        random = random.hits(dice.roll(5));
    }
    let unit = units[usize::try_from(dice.roll(units.len() as u64)).unwrap()];
    if dice.one_in(10) && unit != Unit::Week {
        random = random.limit(u32::try_from(dice.roll(30)).unwrap(), unit.number());
    }
    random
}

fn random_request(dice: &mut Dice, units: &[Unit], resource: &RateLimitConfig) -> RateLimitRequest {
    let asks: Vec<Ask> = (0..=dice.roll(3)).map(|_| random_ask(dice, units, resource)).collect();
    let mut request = common::request(&asks);
    request.hits_addend = u32::try_from(dice.roll(3)).unwrap();
    if dice.one_in(50) {
        request.domain = "nowhere".into();
    }
    request
}

/// What this service has to answer, given the stock answer: the same, but a check with 0 hits is refused at the limit.
fn expected(
    request: &RateLimitRequest,
    mut stock: RateLimitResponse,
    shadow: impl Fn(usize) -> bool,
) -> RateLimitResponse {
    for (index, (status, descriptor)) in stock.statuses.iter_mut().zip(&request.descriptors).enumerate() {
        let check = descriptor.hits_addend.is_some_and(|hits| hits.value == 0);
        if check && status.current_limit.is_some() && status.limit_remaining == 0 && !shadow(index) {
            status.set_code(Code::OverLimit);
            stock.overall_code = Code::OverLimit as i32;
        }
    }
    stock
}

/// A second may pass between the two calls.
fn same(a: &RateLimitResponse, b: &RateLimitResponse) -> bool {
    let seconds = |response: &RateLimitResponse| -> Vec<i64> {
        response.statuses.iter().map(|status| status.duration_until_reset.map_or(-1, |d| d.seconds)).collect()
    };
    let without = |response: &RateLimitResponse| {
        let mut response = response.clone();
        response.statuses.iter_mut().for_each(|status| status.duration_until_reset = None);
        response
    };
    without(a) == without(b) && seconds(a).iter().zip(seconds(b)).all(|(a, b)| a.abs_diff(b) <= 1)
}

async fn in_effect(client: &mut Client, version: u32) {
    let probe = common::request(&[ask(&[("probe", "x")]).hits(0)]);
    loop {
        let status = client.should_rate_limit(probe.clone()).await.map(|response| response.into_inner().statuses);
        let limit = status.ok().and_then(|mut statuses| statuses.pop()?.current_limit);
        if limit.is_some_and(|limit| limit.requests_per_unit == version) {
            return;
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test]
async fn the_same_answers_to_random_calls() {
    let calls = setting("RATELIMIT_CALLS", 3_000);
    let seed = setting("RATELIMIT_SEED", ratelimit::now());
    println!("RATELIMIT_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let units = units(ratelimit::now());
    let ours = RateLimiter::new(&Options::default());
    let mut version = 1;
    let mut resource = domain(&mut dice, &units, version);
    assert_eq!(ours.apply(std::slice::from_ref(&resource)), []);
    let Some(mut stock) = Stock::start(vec![resource.clone()]).await else { return };
    in_effect(&mut stock.client, version).await;
    let (mut limited, mut over) = (0_u64, 0_u64);
    for number in 0..calls {
        if number % 400 == 399 {
            version += 1;
            resource = domain(&mut dice, &units, version);
            assert_eq!(ours.apply(std::slice::from_ref(&resource)), []);
            stock.send(vec![resource.clone()]);
            in_effect(&mut stock.client, version).await;
        }
        let request = random_request(&mut dice, &units, &resource);
        let answer = stock.client.should_rate_limit(request.clone()).await.unwrap().into_inner();
        let own = ours.decide(&request, ratelimit::now()).unwrap();
        // A shadow's check at the limit stays OK in both; which descriptors those are, our own answer shows.
        let wanted = expected(&request, answer, |index| own.statuses[index].code() == Code::Ok);
        assert!(same(&own, &wanted), "call {number}\n{request:#?}\n{resource:#?}\nours {own:#?}\nstock {wanted:#?}");
        limited += own.statuses.iter().filter(|status| status.current_limit.is_some()).count() as u64;
        over += u64::from(own.overall_code() == Code::OverLimit);
    }
    println!("{calls} calls alike, {} configurations, {limited} descriptors under a limit, {over} calls over", version);
}

#[tokio::test]
async fn the_same_refusals() {
    let limits = config("{domain: d, descriptors: [{key: probe, rate_limit: {unit: YEAR, requests_per_unit: 1}}]}");
    let ours = RateLimiter::new(&Options::default());
    ours.apply(std::slice::from_ref(&limits));
    let Some(mut stock) = Stock::start(vec![limits]).await else { return };
    in_effect(&mut stock.client, 1).await;
    let no_domain = RateLimitRequest { domain: String::new(), ..common::request(&[ask(&[("k", "v")])]) };
    for request in [no_domain, common::request(&[])] {
        let theirs = stock.client.should_rate_limit(request.clone()).await.unwrap_err();
        assert_eq!(theirs.code(), tonic::Code::Unknown);
        assert_eq!(theirs.message(), ours.decide(&request, ratelimit::now()).unwrap_err().to_string());
    }
}
