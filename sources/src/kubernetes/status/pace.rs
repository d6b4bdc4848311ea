//! So many a second, and so many at once when nothing was done for a while.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(in crate::kubernetes) struct Pace {
    every: Duration,
    burst: u32,
    /// The moment at which everything that was taken will have been earned.
    earned_at: Instant,
}

impl Pace {
    pub(in crate::kubernetes) fn new(per_second: u32, burst: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1), earned_at: Instant::now() }
    }

    /// How long to wait before the next one, which is taken with that.
    pub(in crate::kubernetes) fn take(&mut self, now: Instant) -> Duration {
        self.earned_at = self.earned_at.max(now) + self.every;
        let ahead = self.earned_at.saturating_duration_since(now);
        ahead.saturating_sub(self.every * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(10, 3);
        let waits: Vec<u128> = (0..5).map(|_| pace.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }
}
