//! Requests without a pause, and streams without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use testkit::{HttpClient, eventually};
use tokio::task::JoinHandle;

/// Requests one after the other, all of which are to be answered 200.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Traffic {
    pub(crate) fn start(client: HttpClient) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, answering) = (stop.clone(), answered.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                match client.get("/").await {
                    Ok(reply) if reply.status == 200 => drop(answering.fetch_add(1, Ordering::Relaxed)),
                    Ok(reply) => failures.push(format!("{}: {}", reply.status, reply.text())),
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            failures
        });
        Self { stop, answered, task }
    }

    /// Waits for further answers.
    pub(crate) async fn goes_on(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 3;
        let ask = || async { (self.answered.load(Ordering::Relaxed) >= goal || self.task.is_finished()).then_some(()) };
        eventually("requests are answered", Duration::from_secs(20), ask).await;
    }

    /// How many were answered, and what went wrong with the others.
    pub(crate) async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// An answer that never ends, read all the time.
pub(crate) struct LongStream {
    pub opened: String,
    events: Arc<AtomicU64>,
    task: JoinHandle<String>,
}

impl LongStream {
    pub(crate) async fn open(client: &HttpClient, opened: &str) -> Self {
        let client = client.clone().header("x-echo-events", "100");
        let mut reply = client.stream("GET".parse().unwrap(), "/", "").await.unwrap();
        assert_eq!(reply.status, 200, "a stream after: {opened}");
        let events = Arc::new(AtomicU64::new(0));
        let counting = events.clone();
        let task = tokio::spawn(async move {
            loop {
                match reply.next_event().await {
                    Ok(Some(_)) => drop(counting.fetch_add(1, Ordering::Relaxed)),
                    Ok(None) => return "it ended".to_owned(),
                    Err(error) => return format!("{error:#}"),
                }
            }
        });
        Self { opened: opened.to_owned(), events, task }
    }

    /// What cut it, if anything did; waits for further events.
    pub(crate) async fn cut(self) -> Option<String> {
        let goal = self.events.load(Ordering::Relaxed) + 2;
        let ask = || async { (self.events.load(Ordering::Relaxed) >= goal || self.task.is_finished()).then_some(()) };
        eventually("the stream goes on, or ends", Duration::from_secs(10), ask).await;
        if self.task.is_finished() {
            return Some(format!("opened after `{}`: {}", self.opened, self.task.await.unwrap()));
        }
        self.task.abort();
        None
    }
}
