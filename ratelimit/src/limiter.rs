//! The service without its sockets: configuration, counters and reservations together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use xds_api::envoy::service::ratelimit::v3::rate_limit_response::Code;
use xds_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;

use crate::config::{Config, Refused};
use crate::counters::{Counters, Filter, Page, Settlement, StateError};
use crate::decide::{Unanswered, decide, may_yet_pass};
use crate::metrics::{Metrics, ServiceStats};
use crate::reservations::{ReservationId, Reservations};
use crate::unit::{Seconds, Unit};

/// How much the service may hold.
#[derive(Clone, Debug)]
pub struct Options {
    pub max_counters: usize,
    pub max_reservations: usize,
    /// How long a reservation waits to be settled; longer than any request lasts.
    pub reservation_lifetime: Seconds,
    /// What is reserved for a cost of which nothing is known: no estimate, and no earlier request.
    pub unknown_cost: u64,
    /// How long a check waits that nothing but reservations of others turns away. Longer than Envoy gathers log
    /// entries (so that requests one after another see each other settled), shorter than its filter waits.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_counters: 10_000_000,
            max_reservations: 1_000_000,
            reservation_lifetime: 3_600,
            unknown_cost: 512,
            patience: Duration::from_millis(100),
        }
    }
}

/// What is known at the end of a request about a cost that was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    Is(u64),
    /// Nothing was spent: the request never reached what costs.
    Nothing,
    /// It is not known: the reservation stays spent.
    Unknown,
}

#[derive(Debug)]
pub struct RateLimiter {
    config: ArcSwapOption<Config>,
    /// Held while a configuration is made from the one before.
    updating: Mutex<()>,
    pub(crate) counters: Counters,
    pub(crate) reservations: Reservations,
    pub(crate) stats: ServiceStats,
    unknown_cost: u64,
    patience: Duration,
    /// Told whenever reservations were settled.
    settled: Notify,
}

impl RateLimiter {
    #[must_use]
    pub fn new(options: &Options) -> Arc<Self> {
        Arc::new(Self {
            config: ArcSwapOption::empty(),
            updating: Mutex::default(),
            counters: Counters::new(options.max_counters),
            reservations: Reservations::new(options.max_reservations, options.reservation_lifetime),
            stats: ServiceStats::default(),
            unknown_cost: options.unknown_cost,
            patience: options.patience,
            settled: Notify::new(),
        })
    }

    /// Puts these resources in force at once; they are the whole state. What is returned was not accepted: such a
    /// domain keeps the limits it had. Counters stay as they are.
    pub fn apply(&self, resources: &[RateLimitConfig]) -> Vec<Refused> {
        let _one_at_a_time = self.updating.lock();
        let (config, refused) = self.config().update(resources);
        self.stats.refused_domains.fetch_add(refused.len() as u64, Relaxed);
        self.config.store(Some(Arc::new(config)));
        refused
    }

    /// Whether a configuration is in force, an empty one as well.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.config.load().is_some()
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full().unwrap_or_default()
    }

    pub fn decide(&self, request: &RateLimitRequest, now: Seconds) -> Result<RateLimitResponse, Unanswered> {
        let config = self.config.load();
        let answer = match config.as_deref() {
            Some(config) => decide(config, &self.counters, &self.reservations, self.unknown_cost, request, now),
            None => Err(Unanswered::NoConfiguration),
        };
        let count = match &answer {
            Ok(response) if response.overall_code == Code::OverLimit as i32 => &self.stats.over,
            Ok(_) => &self.stats.ok,
            Err(_) => &self.stats.unanswered,
        };
        count.fetch_add(1, Relaxed);
        answer
    }

    /// [`Self::decide`], after a moment if that may help: see [`Options::patience`].
    pub async fn decide_patiently(
        &self,
        request: &RateLimitRequest,
        clock: impl Fn() -> Seconds,
    ) -> Result<RateLimitResponse, Unanswered> {
        let mut deadline = None;
        loop {
            // Listens before it looks, so that no settlement falls between the two.
            let settled = self.settled.notified();
            let hope = self.config.load().as_deref().is_some_and(|c| may_yet_pass(c, &self.counters, request, clock()));
            if !hope {
                break;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.patience);
            if tokio::time::timeout_at(deadline, settled).await.is_err() {
                break;
            }
        }
        self.decide(request, clock())
    }

    /// Replaces what a check reserved by what it cost. `cost` is asked for each descriptor that reserved, with the
    /// place it named, as `io.envoy.ai_gateway:llm_total_token`. Whether the reservation was open: a second
    /// settlement changes nothing.
    pub fn settle(&self, id: ReservationId, now: Seconds, cost: impl Fn(&str) -> Cost) -> bool {
        let Some(reservation) = self.reservations.take(id) else {
            self.stats.settled_late.fetch_add(1, Relaxed);
            return false;
        };
        for held in reservation.held {
            let (cost, learn) = match cost(&held.source) {
                Cost::Is(cost) => (cost, true),
                Cost::Nothing => (0, false),
                Cost::Unknown => (held.amount, false),
            };
            let settlement = Settlement { window: held.window, limit: held.limit, reserved: held.amount, cost, learn };
            // Only a counter that was swept away needs room; then the window is over, and most of the cost with it.
            if self.counters.settle(&held.key, &settlement, now).is_err() {
                tracing::warn!(domain = %held.key.template.shape.domain, cost, "no room to settle a cost");
            }
        }
        self.stats.settled.fetch_add(1, Relaxed);
        self.settled.notify_waiters();
        true
    }

    /// Forgets what is over. To be called now and then.
    pub fn sweep(&self, now: Seconds) {
        self.counters.sweep(now);
        self.reservations.sweep(now);
    }

    #[must_use]
    pub fn list(&self, filter: &Filter, now: Seconds) -> Page {
        let held = self.reservations.held();
        self.counters.list(filter, now, |hash, window| held.get(&(hash, window)).copied().unwrap_or(0))
    }

    /// Puts one counter to nothing spent. Whether there was one.
    pub fn reset(&self, domain: &str, unit: Unit, entries: &[(&str, &str)]) -> bool {
        self.counters.reset(domain, unit, entries)
    }

    pub fn save(&self, file: &Path, now: Seconds) -> Result<usize, StateError> {
        self.counters.save(file, now)
    }

    pub fn load(&self, file: &Path, now: Seconds) -> Result<usize, StateError> {
        self.counters.load(file, now)
    }

    #[must_use]
    pub fn metrics(self: &Arc<Self>) -> Metrics {
        Metrics(Arc::clone(self))
    }
}
