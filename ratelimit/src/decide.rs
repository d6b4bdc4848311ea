//! The decision: a request and the time in, a response out. No socket, no clock, no randomness.
//!
//! Descriptors are looked at three times: which rule each one meets, what the rules say about one another, and then
//! what each costs. Only the last step touches counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use xds_api::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use xds_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{Entry, RateLimitOverride};
use xds_api::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use xds_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use xds_api::google::protobuf::{Duration, Struct, Value, value};

use crate::config::{Config, Domain, Rule, RuleKind};
use crate::counters::{Balance, Counters, Estimate, Full, Reserved, Settlement};
use crate::metrics::RuleStats;
use crate::reservations::{Held, RESERVE_KEY, Reservations};
use crate::template::{Key, Shape, Template};
use crate::unit::{Seconds, Unit};

/// Where a response names its reservation: `METADATA_PREFIX` and the id, in the metadata of the rate limit filter.
/// Each has a name of its own, so that two checks of one request do not overwrite each other.
pub const METADATA_PREFIX: &str = "reservation/";

/// Beside it, under the same name always: by it a log knows the requests that have something to settle.
const RESERVED: &str = "reserved";

/// Where a response that lets a request pass says of each of its quotas whether it is spent: the prefix, and the value of
/// the descriptor's first entry.
const QUOTA_PREFIX: &str = "quota/";

/// What cannot be answered; the caller's failure mode decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("rate limit domain must not be empty")]
    NoDomain,
    #[error("rate limit descriptor list must not be empty")]
    NoDescriptors,
    #[error("no rate limit configuration loaded")]
    NoConfiguration,
    #[error("no room for another rate limit counter")]
    Full,
}

impl From<Full> for Unanswered {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// What one descriptor wants of which counter, and the limit it is held against.
struct Claim<'a> {
    unit: Unit,
    requests: u32,
    name: &'a str,
    shadow: bool,
    quota: bool,
    key: Key,
    stats: Option<&'a RuleStats>,
    ask: Ask<'a>,
}

/// What a descriptor asks of its counter.
enum Ask<'a> {
    /// Only whether there is room.
    Check,
    Charge(u64),
    Refund(u64),
    Reserve {
        estimate: Estimate,
        source: &'a str,
    },
}

enum Met<'a> {
    /// No limit applies, or one that another replaces.
    Nothing,
    Unlimited(&'a RuleStats),
    Limited(Box<Claim<'a>>),
}

/// The answer to `request` at `now`. `unknown_cost` is reserved where nothing is known about a cost.
pub(crate) fn decide(
    config: &Config,
    counters: &Counters,
    reservations: &Reservations,
    unknown_cost: u64,
    request: &RateLimitRequest,
    now: Seconds,
) -> Result<RateLimitResponse, Unanswered> {
    if request.domain.is_empty() {
        return Err(Unanswered::NoDomain);
    }
    if request.descriptors.is_empty() {
        return Err(Unanswered::NoDescriptors);
    }
    let met = match config.domain(&request.domain) {
        Some(domain) => meet(domain, counters, unknown_cost, request),
        None => request.descriptors.iter().map(|_| Met::Nothing).collect(),
    };
    let quotas: Vec<&str> = request.descriptors.iter().map(first_value).collect();
    spend(counters, reservations, met, &quotas, now)
}

/// Whether the request would be turned away by nothing but what is held for others, of which a part may come back: the
/// answer may be another one in a moment.
pub(crate) fn may_yet_pass(config: &Config, counters: &Counters, request: &RateLimitRequest, now: Seconds) -> bool {
    let reserves = request.descriptors.iter().any(|descriptor| split(descriptor).1.is_some());
    let Some(domain) = config.domain(&request.domain).filter(|_| reserves) else { return false };
    let mut hope = false;
    for met in meet(domain, counters, 0, request) {
        let Met::Limited(limit) = met else { continue };
        let Balance { used, open } = counters.balance(&limit.key, now);
        let full = used >= limit.requests.into() && !limit.shadow && !limit.quota;
        match limit.ask {
            Ask::Reserve { .. } if full && open > 0 => hope = true,
            _ if full => return false,
            _ => {}
        }
    }
    hope
}

/// Which limit each descriptor meets.
fn meet<'a>(
    domain: &'a Arc<Domain>,
    counters: &Counters,
    unknown_cost: u64,
    request: &'a RateLimitRequest,
) -> Vec<Met<'a>> {
    let mut buffer = Vec::with_capacity(128);
    let rules: Vec<Option<&Arc<Rule>>> = request
        .descriptors
        .iter()
        .map(|descriptor| domain.rule(split(descriptor).0).filter(|_| descriptor_override(descriptor).is_none()))
        .collect();
    let replaced =
        |rule: &Rule| !rule.name.is_empty() && rules.iter().flatten().any(|other| other.replaces.contains(&rule.name));
    let met = request.descriptors.iter().zip(&rules).map(|(descriptor, rule)| {
        let (entries, source) = split(descriptor);
        let pairs = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        let ask = ask(request, descriptor, source, unknown_cost);
        if let Some((unit, requests)) = descriptor_override(descriptor) {
            let open = entries.iter().map(|entry| (entry.key.as_str().into(), None)).collect();
            let template = Template::new(Shape { domain: Arc::clone(&domain.name), unit, entries: open });
            let key = Key::new(&template, pairs, counters.seed(), &mut buffer);
            let held = Claim { unit, requests, name: "", shadow: false, quota: false, key, stats: None, ask };
            return Met::Limited(Box::new(held));
        }
        match rule {
            None => Met::Nothing,
            Some(rule) => match &rule.kind {
                // Replacing what knows no limit changes nothing.
                RuleKind::Unlimited => Met::Unlimited(&rule.stats),
                RuleKind::Limited { .. } if replaced(rule) => Met::Nothing,
                RuleKind::Limited { unit, requests, template } => Met::Limited(Box::new(Claim {
                    unit: *unit,
                    requests: *requests,
                    name: &rule.name,
                    shadow: rule.shadow,
                    quota: rule.quota,
                    key: Key::new(template, pairs, counters.seed(), &mut buffer),
                    stats: Some(&rule.stats),
                    ask,
                })),
            },
        }
    });
    met.collect()
}

/// The entries that are matched, and where the cost will be found if the descriptor reserves.
fn split(descriptor: &RateLimitDescriptor) -> (&[Entry], Option<&str>) {
    match descriptor.entries.split_last() {
        Some((last, rest)) if last.key == RESERVE_KEY => (rest, Some(&last.value)),
        _ => (&descriptor.entries, None),
    }
}

/// A limit that the request brings along. One without a unit is none.
fn descriptor_override(descriptor: &RateLimitDescriptor) -> Option<(Unit, u32)> {
    let RateLimitOverride { unit, requests_per_unit, .. } = descriptor.limit.as_ref()?;
    Some((Unit::from_number(*unit)?, *requests_per_unit))
}

fn ask<'a>(
    request: &RateLimitRequest,
    descriptor: &RateLimitDescriptor,
    source: Option<&'a str>,
    unknown_cost: u64,
) -> Ask<'a> {
    let own = descriptor.hits_addend.map(|hits| hits.value);
    if let Some(source) = source {
        let estimate = match own {
            Some(amount) if amount > 0 => Estimate::Given(amount),
            _ => Estimate::MeanOr(unknown_cost),
        };
        return Ask::Reserve { estimate, source };
    }
    match own.unwrap_or_else(|| request.hits_addend.max(1).into()) {
        0 => Ask::Check,
        hits if descriptor.is_negative_hits => Ask::Refund(hits),
        hits => Ask::Charge(hits),
    }
}

/// What a counter answered.
struct Outcome {
    over: bool,
    used: u64,
    reserved: Option<Reserved>,
}

fn spend(
    counters: &Counters,
    reservations: &Reservations,
    met: Vec<Met<'_>>,
    names: &[&str],
    now: Seconds,
) -> Result<RateLimitResponse, Unanswered> {
    let mut statuses = Vec::with_capacity(met.len());
    let mut verdict = Verdict::default();
    let mut held = Vec::new();
    let mut told: BTreeMap<String, Value> = BTreeMap::new();
    // A request that one limit turns away must not hold room of another meanwhile.
    let doomed = met.len() > 1 && turned_away(counters, &met, now);
    for (met, name) in met.into_iter().zip(names) {
        let limit = match met {
            Met::Nothing => {
                statuses.push(status(Code::Ok));
                continue;
            }
            Met::Unlimited(stats) => {
                stats.hit(1);
                statuses.push(DescriptorStatus { limit_remaining: u32::MAX, ..status(Code::Ok) });
                continue;
            }
            Met::Limited(limit) => limit,
        };
        let outcome = limit.ask(counters, doomed, now)?;
        verdict.add(&limit, &outcome);
        if limit.quota {
            told.insert(format!("{QUOTA_PREFIX}{name}"), truth(outcome.over && !limit.shadow));
        }
        statuses.push(limit.status(&outcome, now));
        if let (Ask::Reserve { source, .. }, Some(Reserved { amount, window, .. })) = (&limit.ask, outcome.reserved) {
            held.push(Held { key: limit.key, window, limit: limit.requests, amount, source: (*source).into() });
        }
    }
    // Nothing was reserved for a doomed request, so it stays turned away even if room has come up since.
    let over = doomed || verdict.is_over();
    let mut response = RateLimitResponse { statuses, ..RateLimitResponse::default() };
    response.set_overall_code(if over { Code::OverLimit } else { Code::Ok });
    if over {
        for held in held {
            let settlement =
                Settlement { window: held.window, limit: held.limit, reserved: held.amount, cost: 0, learn: false };
            counters.settle(&held.key, &settlement, now)?;
        }
    } else if !held.is_empty() {
        let id = reservations.open(held, now);
        told.extend([(format!("{METADATA_PREFIX}{id}"), truth(true)), (RESERVED.to_owned(), truth(true))]);
    }
    if !over && !told.is_empty() {
        response.dynamic_metadata = Some(Struct { fields: told });
    }
    Ok(response)
}

fn truth(value: bool) -> Value {
    Value { kind: Some(value::Kind::BoolValue(value)) }
}

/// By which a quota is called in the answer.
fn first_value(descriptor: &RateLimitDescriptor) -> &str {
    descriptor.entries.first().map_or("", |entry| &entry.value)
}

fn turned_away(counters: &Counters, met: &[Met<'_>], now: Seconds) -> bool {
    let reserves = met.iter().any(|met| matches!(met, Met::Limited(l) if matches!(l.ask, Ask::Reserve { .. })));
    if !reserves {
        return false;
    }
    let mut verdict = Verdict::default();
    for met in met {
        if let Met::Limited(limit) = met {
            let used = counters.balance(&limit.key, now).used;
            let hits = match limit.ask {
                Ask::Charge(hits) => hits,
                Ask::Check | Ask::Reserve { .. } => 1,
                Ask::Refund(_) => 0,
            };
            let over = used.saturating_add(hits) > limit.requests.into();
            verdict.add(limit, &Outcome { over, used, reserved: None });
        }
    }
    verdict.is_over()
}

/// Over if an ordinary limit is, or if there are limits of a quota and all of them are.
#[derive(Default)]
struct Verdict {
    over: bool,
    quotas: u32,
    quotas_over: u32,
}

impl Verdict {
    fn add(&mut self, limit: &Claim<'_>, outcome: &Outcome) {
        let over = outcome.over && !limit.shadow;
        if limit.quota {
            self.quotas += 1;
            self.quotas_over += u32::from(over);
        } else {
            self.over |= over;
        }
    }

    fn is_over(&self) -> bool {
        self.over || (self.quotas > 0 && self.quotas_over == self.quotas)
    }
}

impl Claim<'_> {
    fn ask(&self, counters: &Counters, doomed: bool, now: Seconds) -> Result<Outcome, Full> {
        let limit = u64::from(self.requests);
        let outcome = match &self.ask {
            Ask::Check => {
                let used = counters.balance(&self.key, now).used;
                Outcome { over: used >= limit, used, reserved: None }
            }
            Ask::Charge(hits) => {
                let used = counters.charge(&self.key, self.requests, *hits, now)?;
                Outcome { over: used > limit, used, reserved: None }
            }
            Ask::Refund(hits) => {
                let used = counters.refund(&self.key, self.requests, *hits, now)?;
                Outcome { over: used > limit, used, reserved: None }
            }
            Ask::Reserve { .. } if doomed => {
                let used = counters.balance(&self.key, now).used;
                Outcome { over: used >= limit, used, reserved: None }
            }
            Ask::Reserve { estimate, .. } => {
                let enforced = !self.shadow && !self.quota;
                match counters.reserve(&self.key, self.requests, *estimate, enforced, now)? {
                    Some(reserved) => {
                        let Reserved { amount, used, .. } = reserved;
                        // What it takes itself does not turn it away.
                        Outcome { over: used - amount >= limit, used, reserved: Some(reserved) }
                    }
                    None => Outcome { over: true, used: limit, reserved: None },
                }
            }
        };
        if let Some(stats) = self.stats {
            let hits = match self.ask {
                Ask::Charge(hits) => hits,
                Ask::Refund(_) => 0,
                Ask::Check | Ask::Reserve { .. } => 1,
            };
            stats.decided(hits, outcome.over, self.shadow);
        }
        Ok(outcome)
    }

    fn status(&self, outcome: &Outcome, now: Seconds) -> DescriptorStatus {
        let code = if outcome.over && !self.shadow { Code::OverLimit } else { Code::Ok };
        let left = u64::from(self.requests).saturating_sub(outcome.used);
        DescriptorStatus {
            current_limit: Some(RateLimit {
                name: self.name.to_owned(),
                requests_per_unit: self.requests,
                unit: self.unit.number(),
                unit_multiplier: None,
            }),
            limit_remaining: if outcome.over { 0 } else { u32::try_from(left).unwrap_or(u32::MAX) },
            duration_until_reset: Some(Duration { seconds: self.unit.until_reset(now).cast_signed(), nanos: 0 }),
            ..status(code)
        }
    }
}

fn status(code: Code) -> DescriptorStatus {
    let mut status = DescriptorStatus::default();
    status.set_code(code);
    status
}
