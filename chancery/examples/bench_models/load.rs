//! Requests that go on meanwhile, and how long the slowest of them waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::HttpClient;

const CONNECTIONS: usize = 4;

#[derive(Debug, Default)]
struct Seen {
    /// In microseconds.
    longest: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

pub(crate) struct Load(Arc<Seen>);

impl Load {
    /// Asks for a few models, each over a connection of its own.
    pub(crate) async fn start(port: u16, models: usize) -> anyhow::Result<Self> {
        let seen: Arc<Seen> = Arc::default();
        for at in 0..CONNECTIONS {
            let body = json!({"model": crate::model(at * models / CONNECTIONS)}).to_string();
            let mut connection = HttpClient::new(port).header("content-type", "application/json").connect().await?;
            let seen = seen.clone();
            tokio::spawn(async move {
                loop {
                    let begin = Instant::now();
                    let good = connection.post(crate::CHAT, body.clone()).await.is_ok_and(|reply| reply.status == 200);
                    let waited = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.longest.fetch_max(waited, Ordering::Relaxed);
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    if !good {
                        seen.failed.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Ok(Self(seen))
    }

    /// The longest wait since it was last asked for.
    pub(crate) fn longest(&self) -> String {
        format!("{:.1} ms", self.0.longest.swap(0, Ordering::Relaxed) as f64 / 1e3)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }
}
