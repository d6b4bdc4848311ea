//! Failures on demand.

use http::HeaderMap;
use parking_lot::Mutex;
use serde::Deserialize;

/// What goes wrong with a request.
///
/// A request orders its own fault with the headers `x-sim-status`, `x-sim-delay-ms`, `x-sim-close-after` and
/// `x-sim-retry-after`; `PUT /sim/fault` and [`crate::Simulator::inject`] order one for the requests to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Answer an error with this status.
    pub status: Option<u16>,
    /// Wait before the answer begins.
    pub delay_ms: u64,
    /// Break the connection off: before any answer when 0, in a stream after so many events, in a JSON answer half way.
    pub close_after: Option<usize>,
    /// Seconds in the `retry-after` header of an error.
    pub retry_after: Option<u64>,
    /// How many requests it strikes; all until it is taken back when absent.
    pub times: Option<u64>,
}

impl Fault {
    /// An error with this status for every request.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    fn of_headers(headers: &HeaderMap) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        Self {
            status: number("x-sim-status").and_then(|status| u16::try_from(status).ok()),
            delay_ms: number("x-sim-delay-ms").unwrap_or(0),
            close_after: number("x-sim-close-after").and_then(|events| usize::try_from(events).ok()),
            retry_after: number("x-sim-retry-after"),
            times: None,
        }
    }
}

/// The fault in force for the requests to come.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Option<Fault>>);

impl Standing {
    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.0.lock() = fault;
    }

    /// The fault of one request: what its headers order, else what is in force.
    pub(crate) fn strike(&self, headers: &HeaderMap) -> Fault {
        let own = Fault::of_headers(headers);
        if own != Fault::default() {
            return own;
        }
        let mut standing = self.0.lock();
        let Some(fault) = standing.as_mut() else { return own };
        let struck = fault.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                *standing = None;
            }
        }
        struck
    }
}
