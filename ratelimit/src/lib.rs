//! The embedded rate limit service: `envoy.service.ratelimit.v3.RateLimitService`, in memory, for one machine.
//!
//! It takes the same `RateLimitConfig` resources as the stock service and gives the same answers to the same calls:
//! matching level by level, fixed windows, one status for each descriptor, `unlimited`, `shadow_mode`, `quota_mode`,
//! `replaces` and limits that a request brings along. Where it answers otherwise, it does so on purpose:
//!
//! - **Different entries never share a counter.** There, keys and values are joined with `_` and (`ca`=`b_x`) meets
//!   (`ca_b`=`x`). For the same reason an entry only matches a descriptor with its own key, and a configuration with
//!   both is accepted.
//! - **Limits of different units never share a counter.** There, a minute and an hour limit on the same entries do in
//!   the first minute of each hour.
//! - **A check with 0 hits is refused at the limit**, not only past it: who has spent everything gets nothing more.
//! - **`is_negative_hits` gives hits back.** There, a refund is charged.
//! - **Counts stop at the greatest number.** There, large addends wrap around or fail.
//! - **A limit brought along without a unit is ignored.** There, it ends the process.
//! - **A domain that cannot be accepted holds back no other**, and keeps the limits it had.
//! - **`detailed_metric` adds no label**: a client would choose it.
//! - The service-wide modes that are set by environment variables there do not exist.
//!
//! Beyond it, a check can *reserve*. A descriptor whose last entry has the key [`RESERVE_KEY`] takes its `hits_addend`
//! as an estimate (none or 0: the recent mean of the counter) and holds that room until the request is settled: by
//! [`RateLimiter::settle`], or by an entry of Envoy's gRPC access log, which this service also receives. The answer
//! carries the reservation in its dynamic metadata. Nobody is admitted once everything is spent or held; the last one
//! admitted holds what was left. A check that only reservations turn away waits a moment for a settlement
//! ([`Options::patience`]), so that requests one after another use a budget to its end. What is never settled stays
//! spent until its window ends.
//!
//! Three things about Envoy matter to whoever configures it: a `hits_addend.format` that yields no number makes no call
//! at all, so an estimate must always be one (0 for an unknown one); the filter's `timeout` has to be longer than the
//! patience, and is 20 ms by default; a route with a direct response is never asked about.
//!
//! When there is no room for another counter, the call fails with `RESOURCE_EXHAUSTED`, and the caller's failure mode
//! decides.
//!
//! [`RateLimiter`] is the service without sockets or clock; [`serve`] puts it on a listener.

mod access_log;
mod config;
mod counters;
mod decide;
mod limiter;
mod metrics;
mod reservations;
mod server;
mod template;
mod unit;

pub use config::Refused;
pub use counters::{Filter, Order, Page, Spending, StateError};
pub use decide::{METADATA_PREFIX, Unanswered};
pub use limiter::{Cost, Options, RateLimiter};
pub use metrics::Metrics;
pub use reservations::{RESERVE_KEY, ReservationId};
pub use server::{State, now, serve};
pub use unit::{Seconds, Unit};
