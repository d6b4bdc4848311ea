//! What a check holds, and how it is settled: by a call, by Envoy's access log, or not at all.

#![allow(clippy::unwrap_used)]

mod common;

use common::{NOW, answer, ask, brief, call, limiter, limiter_with};
use ratelimit::{Cost, Filter, METADATA_PREFIX, Options, RateLimiter, ReservationId};
use serde_json::{Value, json};
use xds_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;

const SOURCE: &str = "io.envoy.ai_gateway:tokens";
const RULES: &str = "- {key: k, rate_limit: {unit: MINUTE, requests_per_unit: 1000}}";

/// Reserves, and says under which id.
fn reserve(limiter: &RateLimiter, estimate: u64, now: u64) -> Option<ReservationId> {
    let response = call(limiter, &[ask(&[("k", "a")]).hits(estimate).reserve(SOURCE)], now);
    let name = response.dynamic_metadata?.fields.into_keys().next()?;
    Some(name.strip_prefix(METADATA_PREFIX)?.parse().unwrap())
}

/// Spent, reserved, remaining.
fn counts(limiter: &RateLimiter, now: u64) -> (u64, u64, u64) {
    let page = limiter.list(&Filter::default(), now);
    page.counters.first().map_or((0, 0, 1000), |counter| (counter.spent, counter.reserved, counter.remaining))
}

#[test]
fn settled_by_a_call_and_only_once() {
    let limiter = limiter(RULES);
    let id = reserve(&limiter, 300, NOW).unwrap();
    assert_eq!(counts(&limiter, NOW), (0, 300, 700));
    assert!(limiter.settle(id, NOW, |source| if source == SOURCE { Cost::Is(120) } else { Cost::Unknown }));
    assert_eq!(counts(&limiter, NOW), (120, 0, 880));
    assert!(!limiter.settle(id, NOW, |_| Cost::Is(999)));
    assert_eq!(counts(&limiter, NOW), (120, 0, 880));
}

#[test]
fn nobody_is_admitted_once_everything_is_spent_or_held() {
    let limiter = limiter(RULES);
    let first = reserve(&limiter, 800, NOW).unwrap();
    // The last one holds what was left, whatever it asks for; requests one after another use the whole budget.
    let last = reserve(&limiter, 800, NOW).unwrap();
    assert_eq!(counts(&limiter, NOW), (0, 1000, 0));
    assert_eq!(reserve(&limiter, 1, NOW), None);
    assert_eq!(answer(&limiter, &[ask(&[("k", "a")]).hits(1).reserve(SOURCE)]), "OVER [OVER 0/1000 55s]");
    assert_eq!(answer(&limiter, &[ask(&[("k", "a")]).hits(0)]), "OVER [OVER 0/1000 55s]");
    limiter.settle(first, NOW, |_| Cost::Is(100));
    assert_eq!(counts(&limiter, NOW), (100, 200, 700));
    limiter.settle(last, NOW, |_| Cost::Is(950));
    assert_eq!(counts(&limiter, NOW), (1050, 0, 0));
    assert_eq!(reserve(&limiter, 1, NOW), None);
}

#[test]
fn what_is_not_settled_stays_spent_until_its_window_ends() {
    let limiter = limiter(RULES);
    let id = reserve(&limiter, 600, NOW).unwrap();
    limiter.settle(id, NOW, |_| Cost::Unknown);
    assert_eq!(counts(&limiter, NOW), (600, 0, 400));
    let id = reserve(&limiter, 300, NOW).unwrap();
    assert_eq!(counts(&limiter, NOW), (600, 300, 100));
    // The window has turned: the excess is charged, the rest was paid for.
    assert!(limiter.settle(id, NOW + 60, |_| Cost::Is(340)));
    assert_eq!(counts(&limiter, NOW + 60), (40, 0, 960));
    let id = reserve(&limiter, 300, NOW + 60).unwrap();
    limiter.settle(id, NOW + 120, |_| Cost::Is(10));
    assert_eq!(counts(&limiter, NOW + 120), (0, 0, 1000));
}

#[test]
fn an_unknown_cost_is_estimated_from_what_came_before() {
    let limiter = limiter_with(&Options { unknown_cost: 50, ..Options::default() }, RULES);
    let id = reserve(&limiter, 0, NOW).unwrap();
    assert_eq!(counts(&limiter, NOW), (0, 50, 950));
    limiter.settle(id, NOW, |_| Cost::Is(80));
    let id = reserve(&limiter, 0, NOW).unwrap();
    assert_eq!(counts(&limiter, NOW), (80, 80, 840));
    limiter.settle(id, NOW, |_| Cost::Is(16));
    assert_eq!(counts(&limiter, NOW), (96, 0, 904));
    // The mean follows by an eighth, and is known in the next window too; another key of the rule borrows it.
    let id = reserve(&limiter, 0, NOW + 60).unwrap();
    assert_eq!(counts(&limiter, NOW + 60), (0, 72, 928));
    limiter.settle(id, NOW + 60, |_| Cost::Nothing);
    assert_eq!(counts(&limiter, NOW + 60), (0, 0, 1000));
    let other = call(&limiter, &[ask(&[("k", "other")]).reserve(SOURCE)], NOW + 60);
    assert_eq!(brief(&other), "ok [ok 928/1000 55s]");
}

#[test]
fn shadow_and_quota_reserve_past_their_limit() {
    let limiter = limiter(
        "
- {key: s, shadow_mode: true, rate_limit: {unit: HOUR, requests_per_unit: 10}}
- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 1000}}
",
    );
    let asks = || [ask(&[("s", "a")]).hits(8).reserve(SOURCE), ask(&[("k", "a")]).hits(8).reserve(SOURCE)];
    assert_eq!(answer(&limiter, &asks()), "ok [ok 2/10 2995s] [ok 992/1000 2995s]");
    assert_eq!(answer(&limiter, &asks()), "ok [ok 0/10 2995s] [ok 984/1000 2995s]");
    assert_eq!(answer(&limiter, &asks()), "ok [ok 0/10 2995s] [ok 976/1000 2995s]");
    let page = limiter.list(&Filter::default(), NOW);
    assert!(page.counters.iter().all(|counter| counter.reserved == 24 && counter.spent == 0));
}

fn log(entries: &[Value]) -> StreamAccessLogsMessage {
    let value = json!({"http_logs": {"log_entry": entries}});
    let name = "envoy.service.accesslog.v3.StreamAccessLogsMessage";
    prost::Message::decode(xds_api::message_from_value(name, &value).unwrap()).unwrap()
}

fn entry(id: ReservationId, code: u32, cost: Value) -> Value {
    json!({
        "common_properties": {"metadata": {"filter_metadata": {
            "envoy.filters.http.ratelimit": {(format!("{METADATA_PREFIX}{id}")): true, "other": 1},
            "io.envoy.ai_gateway": {"tokens": cost},
        }}},
        "response": {"response_code": code},
    })
}

#[test]
fn settled_by_the_access_log() {
    let limiter = limiter(RULES);
    let mut ids = (0..6).map(|_| reserve(&limiter, 100, NOW).unwrap());
    let mut id = || ids.next().unwrap();
    let mut unfinished = entry(id(), 200, json!(7));
    unfinished["common_properties"]["access_log_type"] = json!("DownstreamStart");
    let entries = [
        entry(id(), 200, json!(10)),
        entry(id(), 200, json!("20")),
        // Refused upstream: nothing spent. Hung up, no usage seen: what was held stays spent.
        entry(id(), 503, json!(null)),
        entry(id(), 200, json!(null)),
        // Less than nothing is nothing.
        entry(id(), 200, json!(-5)),
        unfinished,
        json!({}),
    ];
    assert_eq!(limiter.settle_logged(&log(&entries), NOW), 5);
    assert_eq!(counts(&limiter, NOW), (130, 100, 770));
    assert_eq!(limiter.settle_logged(&log(&entries), NOW), 0, "a batch that comes twice");
    assert_eq!(counts(&limiter, NOW), (130, 100, 770));
}

#[test]
fn there_are_never_too_many() {
    let options = Options { max_reservations: 64, reservation_lifetime: 30, ..Options::default() };
    let limiter = limiter_with(&options, "- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 100000}}");
    let ids: Vec<_> = (0..200).map(|_| reserve(&limiter, 1, NOW).unwrap()).collect();
    let settled = ids.iter().filter(|id| limiter.settle(**id, NOW, |_| Cost::Nothing)).count();
    assert_eq!(settled, 64, "the newest are open, the others stay spent");
    assert_eq!(limiter.list(&Filter::default(), NOW).counters[0].spent, 136);
    let id = reserve(&limiter, 1, NOW).unwrap();
    limiter.sweep(NOW + 30);
    assert!(!limiter.settle(id, NOW + 30, |_| Cost::Nothing));
}

#[test]
fn for_people_and_through_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counters");
    let rules = "
- key: tenant
  descriptors:
  - {key: model, value: m, rate_limit: {unit: HOUR, requests_per_unit: 100}}
- {key: tenant, value: vip, rate_limit: {unit: MINUTE, requests_per_unit: 10}}
";
    let limiter = limiter(rules);
    for (tenant, hits) in [("a", 10), ("b", 90), ("c", 50)] {
        call(&limiter, &[ask(&[("tenant", tenant), ("model", "m")]).hits(hits)], NOW);
    }
    call(&limiter, &[ask(&[("tenant", "vip")]).hits(6)], NOW);
    call(&limiter, &[ask(&[("tenant", "c"), ("model", "m")]).hits(5).reserve(SOURCE)], NOW);
    let shown = |limiter: &RateLimiter, filter: &Filter, now| -> Vec<String> {
        let page = limiter.list(filter, now);
        let row = |c: &ratelimit::Spending| {
            format!("{}/{} {}+{} of {} left {}", c.domain, c.entries[0].1, c.spent, c.reserved, c.limit, c.remaining)
        };
        page.counters.iter().map(row).collect()
    };
    let all =
        ["d/a 10+0 of 100 left 90", "d/b 90+0 of 100 left 10", "d/c 50+5 of 100 left 45", "d/vip 6+0 of 10 left 4"];
    assert_eq!(shown(&limiter, &Filter::default(), NOW), all);
    let pressed = Filter { order: ratelimit::Order::Pressure, count: 2, ..Filter::default() };
    assert_eq!(shown(&limiter, &pressed, NOW), [all[1], all[3]]);
    assert_eq!(shown(&limiter, &Filter { offset: 2, ..pressed.clone() }, NOW), [all[2], all[0]]);
    assert_eq!(limiter.list(&pressed, NOW).total, 4);
    assert_eq!(shown(&limiter, &Filter { contains: Some("tenant=v".into()), ..Filter::default() }, NOW), [all[3]]);
    assert!(shown(&limiter, &Filter { domain: Some("x".into()), ..Filter::default() }, NOW).is_empty());
    let first = &limiter.list(&Filter::default(), NOW).counters[0];
    assert_eq!((first.resets_at, first.unit().unwrap()), (NOW + 2995, ratelimit::Unit::Hour));

    assert_eq!(limiter.save(&file, NOW).unwrap(), 4);
    let again = common::limiter(rules);
    // The minute is over, the hour is not. What was held is spent.
    assert_eq!(again.load(&file, NOW + 60).unwrap(), 3);
    assert_eq!(shown(&again, &Filter::default(), NOW + 60), [all[0], all[1], "d/c 55+0 of 100 left 45"]);
    assert_eq!(
        brief(&call(&again, &[ask(&[("tenant", "b"), ("model", "m")]).hits(11)], NOW + 60)),
        "OVER [OVER 0/100 2935s]"
    );
    assert!(again.reset("d", ratelimit::Unit::Hour, &[("tenant", "b"), ("model", "m")]));
    assert!(!again.reset("d", ratelimit::Unit::Day, &[("tenant", "b"), ("model", "m")]));
    assert_eq!(again.list(&Filter::default(), NOW + 60).counters[1].spent, 0);

    assert_eq!(again.load(&directory.path().join("none"), NOW).unwrap(), 0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert!(
        again.load(&file, NOW).unwrap_err().to_string().ends_with("the checksum is wrong; starting from nothing spent")
    );
    std::fs::write(&file, b"x").unwrap();
    assert!(again.load(&file, NOW).is_err());
}

#[test]
fn metrics_have_the_labels_of_the_configuration() {
    let limiter = limiter("- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 2}, detailed_metric: true}");
    for value in ["a", "b"] {
        call(&limiter, &[ask(&[("k", value)]).hits(3)], NOW);
    }
    reserve(&limiter, 5, NOW);
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(limiter.metrics()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "ratelimit_rule_hits_total{domain=\"d\",rule=\"k\"} 7",
        "ratelimit_rule_over_limit_total{domain=\"d\",rule=\"k\"} 3",
        "ratelimit_calls_total{answer=\"over_limit\"} 3",
        "ratelimit_counters 2",
        "ratelimit_reservations_open 0",
        "ratelimit_rules 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}
