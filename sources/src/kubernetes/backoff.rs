//! Longer and longer pauses between attempts, not the same for everyone.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// Short enough that an API server which is back is noticed at once.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { pause: SHORTEST }
    }

    pub(super) fn reset(&mut self) {
        self.pause = SHORTEST;
    }

    /// Between three quarters of the pause and all of it: many that fail at one moment do not come back at one moment.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let share = u32::try_from(xxh3_64(&now.subsec_nanos().to_le_bytes()) % 256).unwrap_or(0);
        pause - pause * share / 1024
    }
}
