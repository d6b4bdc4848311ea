//! Whether the API server answers: said once when it does not, and once when it does again, however many ask it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Clone, Debug, Default)]
pub struct Reach(Arc<Mutex<Option<Away>>>);

#[derive(Debug)]
struct Away {
    since: Instant,
    last: Instant,
}

/// Of many requests some fail a moment after others have succeeded.
const MOMENT: Duration = Duration::from_secs(1);

impl Reach {
    pub(super) fn fails(&self, error: &dyn std::fmt::Display) {
        let now = Instant::now();
        let mut away = self.0.lock();
        match away.as_mut() {
            Some(away) => away.last = now,
            None => {
                *away = Some(Away { since: now, last: now });
                tracing::warn!("the API server does not answer, what is known stays in force: {error}");
            }
        }
    }

    pub(super) fn answers(&self) {
        let mut away = self.0.lock();
        if away.as_ref().is_some_and(|away| away.last.elapsed() > MOMENT) {
            let since = away.take().map(|away| away.since.elapsed()).unwrap_or_default();
            tracing::info!("the API server answers again, after {} s", since.as_secs());
        }
    }
}

/// Whether there was an answer, if not the one that was hoped for.
pub(super) fn is_answer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(_))
}
