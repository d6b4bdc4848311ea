//! Exactness under contention: no room is spent twice, none is lost, whatever the threads do at once.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;

use common::{NOW, ask, call, limiter, request};
use ratelimit::{Cost, Filter, METADATA_PREFIX, RateLimiter, ReservationId};
use xds_api::envoy::service::ratelimit::v3::RateLimitResponse;
use xds_api::envoy::service::ratelimit::v3::rate_limit_response::Code;

const THREADS: u64 = 8;

fn together(work: impl Fn(u64) + Sync) {
    let start = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(thread);
            });
        }
    });
}

fn reservation(response: &RateLimitResponse) -> Option<ReservationId> {
    let name = response.dynamic_metadata.as_ref()?.fields.keys().next()?;
    name.strip_prefix(METADATA_PREFIX)?.parse().ok()
}

fn spent(limiter: &Arc<RateLimiter>) -> (u64, u64) {
    let page = limiter.list(&Filter::default(), NOW);
    (page.counters.iter().map(|c| c.spent).sum(), page.counters.iter().map(|c| c.reserved).sum())
}

#[test]
fn exactly_as_many_pass_as_the_limit_says() {
    let limiter = limiter("- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 5000}}");
    let passed = AtomicU64::new(0);
    together(|_| {
        for _ in 0..2_000 {
            if call(&limiter, &[ask(&[("k", "a")])], NOW).overall_code() == Code::Ok {
                passed.fetch_add(1, Relaxed);
            }
        }
    });
    assert_eq!(passed.into_inner(), 5_000);
    assert_eq!(spent(&limiter), (16_000, 0));
}

#[test]
fn new_counters_made_at_once_are_one() {
    let limiter = limiter("- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 100000}}");
    let values: Vec<String> = (0..500).map(|i| format!("v{i}")).collect();
    together(|_| {
        for value in &values {
            call(&limiter, &[ask(&[("k", value.as_str())])], NOW);
        }
    });
    let page = limiter.list(&Filter { count: 1_000, ..Filter::default() }, NOW);
    assert_eq!(page.total, 500);
    assert!(page.counters.iter().all(|counter| counter.spent == THREADS));
}

/// Many workers on one budget, each request with an estimate that is wrong by up to a half.
#[test]
fn reservations_keep_a_budget_and_counters_are_exact_afterwards() {
    const BUDGET: u64 = 200_000;
    let limiter = limiter(&format!("- {{key: k, rate_limit: {{unit: HOUR, requests_per_unit: {BUDGET}}}}}"));
    let charged = AtomicU64::new(0);
    together(|thread| {
        let mut under_way: Vec<(ReservationId, u64)> = Vec::new();
        for round in 0..4_000_u64 {
            let cost = 50 + (thread * 7919 + round * 104_729) % 101;
            let response = call(&limiter, &[ask(&[("k", "a")]).hits(100).reserve("ns:tokens")], NOW);
            match reservation(&response) {
                Some(id) => under_way.push((id, cost)),
                None => assert_eq!(response.overall_code(), Code::OverLimit),
            }
            if under_way.len() >= 25 || round == 3_999 {
                for (id, cost) in under_way.drain(..) {
                    assert!(limiter.settle(id, NOW, |_| Cost::Is(cost)));
                    charged.fetch_add(cost, Relaxed);
                }
            }
        }
    });
    let charged = charged.into_inner();
    assert_eq!(spent(&limiter), (charged, 0));
    assert!((BUDGET..=BUDGET + BUDGET / 20).contains(&charged), "{charged}");
}

#[test]
fn a_limit_that_turns_a_request_away_frees_what_another_held() {
    let limiter = limiter(
        "
- {key: k, rate_limit: {unit: HOUR, requests_per_unit: 1000}}
- {key: closed, rate_limit: {unit: HOUR, requests_per_unit: 0}}
",
    );
    together(|_| {
        for _ in 0..500 {
            let asks = [ask(&[("k", "a")]).hits(10).reserve("ns:t"), ask(&[("closed", "a")])];
            assert_eq!(limiter.decide(&request(&asks), NOW).unwrap().overall_code(), Code::OverLimit);
        }
    });
    let page = limiter.list(&Filter { contains: Some("k=a".into()), ..Filter::default() }, NOW);
    assert_eq!(page.counters.iter().map(|counter| counter.spent + counter.reserved).sum::<u64>(), 0);
}
