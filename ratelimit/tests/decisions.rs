//! How requests are answered: the rules of the stock service, and each place where this one differs on purpose.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ask, NOW, answer, ask, brief, call, config, limiter, limiter_with, request};
use ratelimit::{Options, RateLimiter, Unanswered};
use xds_api::envoy::service::ratelimit::v3::RateLimitRequest;

const HOUR: i32 = 3;

fn limits(rows: &[(&str, &str)]) -> std::sync::Arc<RateLimiter> {
    let text: String = rows.iter().map(|(entry, limit)| format!("- {{{entry}, rate_limit: {{{limit}}}}}\n")).collect();
    limiter(&text)
}

#[test]
fn counts_until_the_limit_and_starts_over_with_the_window() {
    let limiter = limits(&[("key: k", "unit: MINUTE, requests_per_unit: 2")]);
    let ask = [ask(&[("k", "a")])];
    assert_eq!(brief(&call(&limiter, &ask, NOW)), "ok [ok 1/2 55s]");
    assert_eq!(brief(&call(&limiter, &ask, NOW + 54)), "ok [ok 0/2 1s]");
    assert_eq!(brief(&call(&limiter, &ask, NOW + 54)), "OVER [OVER 0/2 1s]");
    assert_eq!(brief(&call(&limiter, &ask, NOW + 55)), "ok [ok 1/2 60s]");
    // A clock that steps back finds the later window.
    assert_eq!(brief(&call(&limiter, &ask, NOW)), "ok [ok 0/2 55s]");
    // Each value has its own count.
    assert_eq!(answer(&limiter, &[common::ask(&[("k", "b")])]), "ok [ok 1/2 55s]");
}

#[test]
fn units_cut_time_from_the_epoch() {
    for (unit, seconds) in [
        ("SECOND", 1),
        ("MINUTE", 60),
        ("HOUR", 3600),
        ("DAY", 86400),
        ("WEEK", 604_800),
        ("MONTH", 2_592_000),
        ("YEAR", 31_536_000),
    ] {
        let limiter = limits(&[("key: k", &format!("unit: {unit}, requests_per_unit: 9"))]);
        let reset = seconds - NOW % seconds;
        assert_eq!(answer(&limiter, &[ask(&[("k", "a")])]), format!("ok [ok 8/9 {reset}s]"));
        assert_eq!(brief(&call(&limiter, &[ask(&[("k", "a")])], NOW + reset)), format!("ok [ok 8/9 {seconds}s]"));
    }
}

#[test]
fn hits() {
    let limiter = limits(&[("key: k", "unit: HOUR, requests_per_unit: 10")]);
    let k = |value: &'static str| ask(&[("k", value)]);
    assert_eq!(answer(&limiter, &[k("a").hits(8)]), "ok [ok 2/10 2995s]");
    assert_eq!(answer(&limiter, &[k("a").hits(5)]), "OVER [OVER 0/10 2995s]");
    // What is over is counted as well: 13.
    assert_eq!(answer(&limiter, &[k("a").refund(4)]), "ok [ok 1/10 2995s]");
    assert_eq!(answer(&limiter, &[k("b").hits(25)]), "OVER [OVER 0/10 2995s]");
    // The request's own addend counts where a descriptor has none; 0 is 1.
    let mut both = request(&[k("c"), k("d").hits(2)]);
    both.hits_addend = 3;
    assert_eq!(brief(&limiter.decide(&both, NOW).unwrap()), "ok [ok 7/10 2995s] [ok 8/10 2995s]");
    assert_eq!(answer(&limiter, &[k("c")]), "ok [ok 6/10 2995s]");
    // The same descriptor twice counts twice, and the second sees the first.
    assert_eq!(answer(&limiter, &[k("e"), k("e")]), "ok [ok 9/10 2995s] [ok 8/10 2995s]");
}

#[test]
fn a_check_leaves_no_trace_and_is_refused_at_the_limit() {
    let limiter =
        limits(&[("key: k", "unit: HOUR, requests_per_unit: 3"), ("key: none", "unit: HOUR, requests_per_unit: 0")]);
    let k = || ask(&[("k", "a")]);
    assert_eq!(answer(&limiter, &[k().hits(0)]), "ok [ok 3/3 2995s]");
    assert_eq!(answer(&limiter, &[k().hits(3)]), "ok [ok 0/3 2995s]");
    assert_eq!(answer(&limiter, &[k().hits(0)]), "OVER [OVER 0/3 2995s]");
    assert_eq!(answer(&limiter, &[ask(&[("none", "a")]).hits(0)]), "OVER [OVER 0/0 2995s]");
}

#[test]
fn refunds_and_great_numbers() {
    let limiter = limits(&[("key: k", "unit: HOUR, requests_per_unit: 10")]);
    let k = || ask(&[("k", "a")]);
    assert_eq!(answer(&limiter, &[k().refund(5)]), "ok [ok 10/10 2995s]");
    assert_eq!(answer(&limiter, &[k().hits(6)]), "ok [ok 4/10 2995s]");
    assert_eq!(answer(&limiter, &[k().refund(4)]), "ok [ok 8/10 2995s]");
    assert_eq!(answer(&limiter, &[k().hits(u64::MAX)]), "OVER [OVER 0/10 2995s]");
    assert_eq!(answer(&limiter, &[k().hits(u64::MAX)]), "OVER [OVER 0/10 2995s]");
    assert_eq!(answer(&limiter, &[k().refund(u64::MAX)]), "ok [ok 10/10 2995s]");
}

#[test]
fn matching() {
    let limiter = limiter(
        "
- {key: v, value: a, rate_limit: {unit: HOUR, requests_per_unit: 1}}
- {key: v, value: 'a*z', rate_limit: {unit: HOUR, requests_per_unit: 2}}
- {key: v, value: 'a*', rate_limit: {unit: HOUR, requests_per_unit: 3}}
- {key: v, rate_limit: {unit: HOUR, requests_per_unit: 4}}
- {key: e, value: '*', rate_limit: {unit: HOUR, requests_per_unit: 9}}
- {key: w, value: 'foo*', rate_limit: {unit: HOUR, requests_per_unit: 5}}
- key: t
  value: x
  rate_limit: {unit: HOUR, requests_per_unit: 6}
  descriptors:
  - {key: m, value: 'y', rate_limit: {unit: HOUR, requests_per_unit: 7}}
- key: t
  descriptors:
  - {key: m, rate_limit: {unit: HOUR, requests_per_unit: 8}}
",
    );
    let limit = |entries: &[(&str, &str)]| {
        let response = call(&limiter, &[ask(entries)], NOW);
        response.statuses[0].current_limit.as_ref().map_or(0, |limit| limit.requests_per_unit)
    };
    assert_eq!(limit(&[("v", "a")]), 1, "the exact value first");
    assert_eq!(limit(&[("v", "abz")]), 2, "then wildcards in their order");
    assert_eq!(limit(&[("v", "ab")]), 3);
    assert_eq!(limit(&[("v", "b")]), 4, "then the default");
    assert_eq!(limit(&[("v", "")]), 4, "no value is the default's");
    assert_eq!(limit(&[("w", "")]), 0, "unless a wildcard takes it");
    assert_eq!(limit(&[("e", "")]), 9);
    assert_eq!(limit(&[("t", "x")]), 6);
    assert_eq!(limit(&[("t", "x"), ("m", "y")]), 7);
    assert_eq!(limit(&[("t", "x"), ("m", "z")]), 0, "no way back to the default branch");
    assert_eq!(limit(&[("t", "z"), ("m", "z")]), 8);
    assert_eq!(limit(&[("t", "z")]), 0, "nothing stands there");
    assert_eq!(limit(&[("m", "y"), ("t", "x")]), 0, "another order");
    assert_eq!(limit(&[("v", "a"), ("m", "y")]), 0, "more than is configured");
    assert_eq!(limit(&[]), 0);
    assert_eq!(limit(&[("w_foo", "1")]), 0, "keys and values are not joined");
    assert_eq!(limit(&[("v_a", "")]), 0);
}

#[test]
fn without_a_limit() {
    let limiter = limits(&[("key: k", "unit: HOUR, requests_per_unit: 1"), ("key: u", "unlimited: true")]);
    assert_eq!(answer(&limiter, &[ask(&[("x", "y")])]), "ok [ok 0]");
    assert_eq!(answer(&limiter, &[ask(&[("u", "y")]), ask(&[("k", "y")])]), "ok [ok 4294967295] [ok 0/1 2995s]");
    let elsewhere = RateLimitRequest { domain: "other".into(), ..request(&[ask(&[("k", "a")]).limit(1, HOUR)]) };
    assert_eq!(brief(&limiter.decide(&elsewhere, NOW).unwrap()), "ok [ok 0]");
    assert_eq!(limiter.decide(&RateLimitRequest::default(), NOW), Err(Unanswered::NoDomain));
    assert_eq!(limiter.decide(&request(&[]), NOW), Err(Unanswered::NoDescriptors));
    let fresh = RateLimiter::new(&Options::default());
    assert_eq!(fresh.decide(&request(&[ask(&[("k", "a")])]), NOW), Err(Unanswered::NoConfiguration));
}

#[test]
fn several_descriptors() {
    let limiter =
        limits(&[("key: k", "unit: HOUR, requests_per_unit: 1"), ("key: l", "unit: MINUTE, requests_per_unit: 5")]);
    let both = [ask(&[("k", "a")]), ask(&[("l", "a")])];
    assert_eq!(answer(&limiter, &both), "ok [ok 0/1 2995s] [ok 4/5 55s]");
    assert_eq!(answer(&limiter, &both), "OVER [OVER 0/1 2995s] [ok 3/5 55s]", "all are counted");
}

#[test]
fn shadow_and_quota() {
    let limiter = limiter(
        "
- {key: s, shadow_mode: true, rate_limit: {unit: HOUR, requests_per_unit: 1}}
- {key: q, quota_mode: true, rate_limit: {unit: HOUR, requests_per_unit: 1}}
- {key: r, quota_mode: true, rate_limit: {unit: HOUR, requests_per_unit: 2}}
- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 9}}
",
    );
    let one = |key: &'static str| ask(&[(key, "a")]);
    assert_eq!(answer(&limiter, &[one("s").hits(2)]), "ok [ok 0/1 2995s]");
    let quotas = [one("q"), one("r"), one("k")];
    assert_eq!(answer(&limiter, &quotas), "ok [ok 0/1 2995s] [ok 1/2 2995s] [ok 8/9 2995s]");
    assert_eq!(answer(&limiter, &quotas), "ok [OVER 0/1 2995s] [ok 0/2 2995s] [ok 7/9 2995s]");
    assert_eq!(answer(&limiter, &quotas), "OVER [OVER 0/1 2995s] [OVER 0/2 2995s] [ok 6/9 2995s]");
}

#[test]
fn replaces() {
    let limiter = limits(&[
        ("key: a", "unit: HOUR, requests_per_unit: 1, name: a"),
        ("key: b", "unit: HOUR, requests_per_unit: 2, name: b, replaces: [{name: a}]"),
        ("key: u", "unlimited: true, name: u, replaces: [{name: a}, {name: b}]"),
        ("key: w", "unlimited: true, replaces: [{name: u}]"),
        ("key: x", "unit: HOUR, requests_per_unit: 1, name: x, replaces: [{name: z}]"),
        ("key: z", "unit: HOUR, requests_per_unit: 1, name: z, replaces: [{name: x}]"),
    ]);
    let one = |key: &'static str| ask(&[(key, "v")]);
    assert_eq!(answer(&limiter, &[one("a"), one("b")]), "ok [ok 0] [ok 1/2 2995s]");
    assert_eq!(answer(&limiter, &[one("u"), one("b"), one("a")]), "ok [ok 4294967295] [ok 0] [ok 0]");
    assert_eq!(answer(&limiter, &[one("a")]), "ok [ok 0/1 2995s]", "not counted when replaced");
    assert_eq!(answer(&limiter, &[one("x"), one("z")]), "ok [ok 0] [ok 0]", "each other");
    assert_eq!(answer(&limiter, &[one("u"), one("w")]), "ok [ok 4294967295] [ok 4294967295]", "unlimited stays so");
    let response = call(&limiter, &[one("b")], NOW);
    assert_eq!(response.statuses[0].current_limit.as_ref().unwrap().name, "b");
}

#[test]
fn a_limit_that_the_request_brings() {
    let limiter = limiter(
        "
- {key: k, shadow_mode: true, rate_limit: {unit: HOUR, requests_per_unit: 9}}
- {key: u, rate_limit: {unlimited: true}}
",
    );
    let k = || ask(&[("k", "a")]);
    assert_eq!(answer(&limiter, &[k().hits(3)]), "ok [ok 6/9 2995s]");
    assert_eq!(answer(&limiter, &[k().limit(4, HOUR)]), "ok [ok 0/4 2995s]", "the same counter");
    assert_eq!(
        answer(&limiter, &[k().limit(4, HOUR)]),
        "OVER [OVER 0/4 2995s]",
        "in force though the rule is a shadow"
    );
    assert_eq!(answer(&limiter, &[ask(&[("u", "a")]).limit(1, HOUR)]), "ok [ok 0/1 2995s]");
    assert_eq!(answer(&limiter, &[ask(&[("new", "a")]).limit(1, HOUR)]), "ok [ok 0/1 2995s]");
    assert_eq!(answer(&limiter, &[k().limit(1, 0)]), "ok [ok 3/9 2995s]", "without a unit there is none");
    assert_eq!(answer(&limiter, &[ask(&[("none", "a")]).limit(1, 99)]), "ok [ok 0]");
}

#[test]
fn counters_are_never_shared() {
    let limiter = limits(&[
        ("key: ca", "unit: HOUR, requests_per_unit: 9"),
        ("key: ca_b", "unit: HOUR, requests_per_unit: 9"),
        ("key: ca, value: c", "unit: MINUTE, requests_per_unit: 9"),
    ]);
    assert_eq!(answer(&limiter, &[ask(&[("ca", "b_x")])]), "ok [ok 8/9 2995s]");
    assert_eq!(answer(&limiter, &[ask(&[("ca_b", "x")])]), "ok [ok 8/9 2995s]");
    let minute: Ask = ask(&[("ca", "c")]);
    let at_the_hour = NOW - NOW % 3600;
    assert_eq!(brief(&call(&limiter, std::slice::from_ref(&minute), at_the_hour)), "ok [ok 8/9 60s]");
    assert_eq!(brief(&call(&limiter, &[minute.limit(9, HOUR)], at_the_hour)), "ok [ok 8/9 3600s]");
}

#[test]
fn an_edit_keeps_the_counts() {
    let at = |requests: u32, unit: &str| {
        config(&format!(
            "domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: {unit}, requests_per_unit: {requests}}}}}, {{key: k, value: x, rate_limit: {{unit: HOUR, requests_per_unit: 7}}}}]"
        ))
    };
    let limiter = RateLimiter::new(&Options::default());
    let k = |value: &'static str| ask(&[("k", value)]);
    limiter.apply(&[at(10, "HOUR")]);
    assert_eq!(answer(&limiter, &[k("a").hits(4)]), "ok [ok 6/10 2995s]");
    limiter.apply(&[at(20, "HOUR")]);
    assert_eq!(answer(&limiter, &[k("a").hits(0)]), "ok [ok 16/20 2995s]");
    limiter.apply(&[at(3, "HOUR")]);
    assert_eq!(answer(&limiter, &[k("a").hits(0)]), "OVER [OVER 0/3 2995s]");
    limiter.apply(&[at(9, "MINUTE")]);
    assert_eq!(answer(&limiter, &[k("a")]), "ok [ok 8/9 55s]", "a unit of its own");
    limiter.apply(&[at(10, "HOUR")]);
    assert_eq!(answer(&limiter, &[k("a")]), "ok [ok 5/10 2995s]", "and back");
    // A value that gets a rule of its own keeps what it spent under the default, and the other way round.
    assert_eq!(answer(&limiter, &[k("x").hits(2)]), "ok [ok 5/7 2995s]");
    limiter.apply(&[config("domain: d\ndescriptors: [{key: k, rate_limit: {unit: HOUR, requests_per_unit: 9}}]")]);
    assert_eq!(answer(&limiter, &[k("x")]), "ok [ok 6/9 2995s]");
    assert_eq!(limiter.apply(&[]), []);
    assert_eq!(answer(&limiter, &[k("a")]), "ok [ok 0]");
}

#[test]
fn what_cannot_be_accepted_costs_its_domain_only() {
    let good = |domain: &str, requests: u32| {
        config(&format!(
            "domain: {domain}\ndescriptors: [{{key: k, rate_limit: {{unit: HOUR, requests_per_unit: {requests}}}}}]"
        ))
    };
    let limiter = RateLimiter::new(&Options::default());
    limiter.apply(&[good("d", 5), good("e", 5)]);
    let cases = [
        ("domain: ''", "has no name"),
        ("domain: d\ndescriptors: [{key: ''}]", "a descriptor has no key"),
        ("domain: d\ndescriptors: [{key: a, value: b, descriptors: [{}]}]", "a descriptor under a=b has no key"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 1}}]", "descriptor a has no valid unit"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: 9}}]", "descriptor a has no valid unit"),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: HOUR, unlimited: true}}]",
            "descriptor a is unlimited and has a unit",
        ),
        ("domain: d\ndescriptors: [{key: a, value: b}, {key: a, value: b}]", "descriptor a=b is configured twice"),
        ("domain: d\ndescriptors: [{key: a}, {key: a}]", "descriptor a is configured twice"),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: HOUR, replaces: [{}]}}]",
            "descriptor a replaces a limit without a name",
        ),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: HOUR, name: l, replaces: [{name: l}]}}]",
            "descriptor a replaces itself",
        ),
    ];
    for (bad, reason) in cases {
        let refused = limiter.apply(&[config(bad), good("e", 6)]);
        assert_eq!(refused.iter().map(|r| r.reason.as_str()).collect::<Vec<_>>(), [reason]);
        let at = |domain: &str| {
            let asked = RateLimitRequest { domain: domain.into(), ..request(&[ask(&[("k", "v")]).hits(0)]) };
            brief(&limiter.decide(&asked, NOW).unwrap())
        };
        if !refused[0].domain.is_empty() {
            assert_eq!(at("d"), "ok [ok 5/5 2995s]", "what was in force stays");
        }
        assert_eq!(at("e"), "ok [ok 6/6 2995s]");
        limiter.apply(&[good("d", 5), good("e", 5)]);
    }
    let twice = limiter.apply(&[good("d", 1), good("d", 2)]);
    assert_eq!(twice[0].to_string(), "rate limit domain \"d\": is configured twice; the first configuration counts");
    // What the stock service would refuse without need.
    assert_eq!(limiter.apply(&[config("domain: d\ndescriptors: [{key: k, value: a_b}, {key: k_a, value: b}]")]), []);
}

#[test]
fn a_full_table_says_so_until_windows_end() {
    let options = Options { max_counters: 3, ..Options::default() };
    let limiter = limiter_with(&options, "- {key: k, rate_limit: {unit: MINUTE, requests_per_unit: 5}}");
    for value in ["a", "b", "c"] {
        call(&limiter, &[ask(&[("k", value)])], NOW);
    }
    assert_eq!(limiter.decide(&request(&[ask(&[("k", "d")])]), NOW), Err(Unanswered::Full));
    assert_eq!(answer(&limiter, &[ask(&[("k", "a")])]), "ok [ok 3/5 55s]", "those that are in still count");
    assert_eq!(brief(&call(&limiter, &[ask(&[("k", "a")])], NOW + 60)), "ok [ok 4/5 55s]");
    let mut room = 0;
    for value in ["d", "e", "f", "g"] {
        room += usize::from(limiter.decide(&request(&[ask(&[("k", value)])]), NOW + 60).is_ok());
    }
    assert!(room <= 2, "{room}");
    limiter.sweep(NOW + 180);
    assert_eq!(brief(&call(&limiter, &[ask(&[("k", "z")])], NOW + 180)), "ok [ok 4/5 55s]");
}
