//! What the service counts about itself. Labels come from the configuration, never from a request: their number is
//! that of the rules, and it is bounded beside that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::RateLimiter;

/// Rules that have a series of their own; the others of their domain share one.
const MAX_SERIES: usize = 2_000;
const OTHERS: &str = "(others)";

/// What happened under one rule.
#[derive(Debug)]
pub(crate) struct RuleStats {
    domain: Arc<str>,
    rule: Arc<str>,
    hits: AtomicU64,
    over: AtomicU64,
    shadow: AtomicU64,
}

impl RuleStats {
    pub(crate) fn new(domain: Arc<str>, rule: Arc<str>) -> Self {
        Self { domain, rule, hits: AtomicU64::new(0), over: AtomicU64::new(0), shadow: AtomicU64::new(0) }
    }

    pub(crate) fn hit(&self, hits: u64) {
        self.hits.fetch_add(hits, Relaxed);
    }

    pub(crate) fn decided(&self, hits: u64, over: bool, shadow: bool) {
        self.hit(hits);
        match (over, shadow) {
            (false, _) => {}
            (true, false) => {
                self.over.fetch_add(1, Relaxed);
            }
            (true, true) => {
                self.shadow.fetch_add(1, Relaxed);
            }
        }
    }
}

/// What happened in the service as a whole.
#[derive(Debug, Default)]
pub(crate) struct ServiceStats {
    pub(crate) ok: AtomicU64,
    pub(crate) over: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) settled: AtomicU64,
    pub(crate) settled_late: AtomicU64,
    pub(crate) log_streams_broken: AtomicU64,
    pub(crate) refused_domains: AtomicU64,
}

/// Registers with `prometheus_client::registry::Registry::register_collector`.
#[derive(Debug)]
pub struct Metrics(pub(crate) Arc<RateLimiter>);

/// A metric of one rule: name, help, and where it is counted.
type RuleMetric = (&'static str, &'static str, fn(&RuleStats) -> &AtomicU64);

const RULE_METRICS: [RuleMetric; 3] = [
    ("ratelimit_rule_hits", "Hits held against a rule", |stats| &stats.hits),
    ("ratelimit_rule_over_limit", "Requests that a rule turned away", |stats| &stats.over),
    ("ratelimit_rule_shadow_over_limit", "Requests that a rule in shadow mode would have turned away", |stats| {
        &stats.shadow
    }),
];

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let limiter = &self.0;
        let config = limiter.config();
        for (name, help, of) in RULE_METRICS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            let mut others: Vec<(Arc<str>, u64)> = Vec::new();
            for (index, stats) in config.rules().enumerate() {
                let value = of(stats).load(Relaxed);
                if index < MAX_SERIES {
                    let labels = [("domain", &*stats.domain), ("rule", &*stats.rule)];
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                } else {
                    match others.last_mut() {
                        Some((domain, sum)) if *domain == stats.domain => *sum += value,
                        _ => others.push((Arc::clone(&stats.domain), value)),
                    }
                }
            }
            for (domain, value) in others {
                ConstCounter::new(value).encode(family.encode_family(&[("domain", &*domain), ("rule", OTHERS)])?)?;
            }
        }
        let stats = &limiter.stats;
        let calls = [("ok", &stats.ok), ("over_limit", &stats.over), ("error", &stats.unanswered)];
        let mut family =
            encoder.encode_descriptor("ratelimit_calls", "Calls by their answer", None, MetricType::Counter)?;
        for (answer, value) in calls {
            ConstCounter::new(value.load(Relaxed)).encode(family.encode_family(&[("answer", answer)])?)?;
        }
        let counters = [
            ("ratelimit_reservations_settled", "Reservations settled", stats.settled.load(Relaxed)),
            (
                "ratelimit_reservations_unknown",
                "Settlements of a reservation that was not open",
                stats.settled_late.load(Relaxed),
            ),
            (
                "ratelimit_reservations_forgotten",
                "Reservations that nobody settled: they stay spent",
                limiter.reservations.forgotten(),
            ),
            (
                "ratelimit_log_streams_broken",
                "Access log streams that ended with an error",
                stats.log_streams_broken.load(Relaxed),
            ),
            (
                "ratelimit_domains_refused",
                "Domains whose configuration was not accepted",
                stats.refused_domains.load(Relaxed),
            ),
        ];
        for (name, help, value) in counters {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let gauges = [
            ("ratelimit_counters", "Counters in memory", limiter.counters.len() as u64),
            ("ratelimit_reservations_open", "Reservations not settled yet", limiter.reservations.len() as u64),
            ("ratelimit_rules", "Limits in force", config.len() as u64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
