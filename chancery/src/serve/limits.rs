//! The rate limit service: the embedded one on its port, and the configuration that it and stock ones are given.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use ratelimit::{Options, RateLimiter, State};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use translator::{MOST_LIMIT_BYTES, no_limits};
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;
use xds_api::{Resource, ResourceType};
use xds_server::{GroupKey, Snapshots};

const FILE: &str = "limits.counters";
/// What is spent between two writes is lost in a crash, and only then.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A stock rate limit service says nothing of itself but an id: its group is the one without a name.
pub(super) fn group() -> GroupKey {
    GroupKey::new("")
}

/// The embedded service, before it answers.
pub(super) struct Service {
    pub limiter: Arc<RateLimiter>,
    listener: TcpListener,
    state: Option<State>,
}

/// The embedded service, until it is asked to end.
pub(super) struct Running {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    /// Takes the counters of an earlier run in. None where there is to be no such service.
    pub(super) async fn bind(address: Option<SocketAddr>, state_dir: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(address) = address else { return Ok(None) };
        let listener = TcpListener::bind(address).await.with_context(|| format!("rate limit address {address}"))?;
        let limiter = RateLimiter::new(&Options::default());
        let state = state_dir.map(|directory| State { file: directory.join(FILE), every: SAVE_EVERY });
        if let Some(file) = state.as_ref().map(|state| &state.file).filter(|file| file.exists()) {
            match limiter.load(file, ratelimit::now()) {
                Ok(counters) => tracing::info!(counters, "rate limit counters restored"),
                // Counting from nothing is better than not to count.
                Err(error) => tracing::error!(%error, "rate limit counters are not restored"),
            }
        }
        tracing::info!(ratelimit = %listener.local_addr()?, "limits are counted here");
        Ok(Some(Self { limiter, listener, state }))
    }

    pub(super) fn start(self) -> Running {
        let (end, mut ended) = watch::channel(false);
        let task = tokio::spawn(async move {
            let shutdown = async move {
                let _ = ended.wait_for(|ended| *ended).await;
            };
            if let Err(error) = ratelimit::serve(self.limiter, self.listener, self.state, shutdown).await {
                tracing::error!(%error, "the rate limit service ended");
            }
        });
        Running { end, task }
    }
}

impl Running {
    /// Waits until the counters are saved.
    pub(super) async fn end(self) {
        self.end.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the rate limit service failed");
        }
    }
}

/// Everyone who is told what the limits are: the embedded service at once, stock ones over xDS.
pub(super) struct Told {
    snapshots: Snapshots,
    limiter: Option<Arc<RateLimiter>>,
}

impl Told {
    pub(super) fn new(snapshots: Snapshots, limiter: Option<Arc<RateLimiter>>) -> Self {
        Self { snapshots, limiter }
    }

    /// The limits that were in force before a restart hold until there are newer ones.
    pub(super) fn restore(&self) {
        let saved = self.snapshots.resources(&group());
        if !saved.is_empty() {
            self.embedded(&saved);
        }
    }

    /// These are all limits there are from now on.
    pub(super) fn tell(&self, config: &[Resource]) {
        self.embedded(config);
        let bytes: usize = config.iter().map(|resource| resource.body.len()).sum();
        if bytes > MOST_LIMIT_BYTES {
            tracing::error!(
                bytes,
                most = MOST_LIMIT_BYTES,
                "too much for stock rate limit services: they keep what they have"
            );
            return;
        }
        // A stock service is not ready before it has a configuration.
        let silent = config.is_empty() && self.limiter.is_none();
        self.snapshots.replace(&group(), if silent { vec![no_limits()] } else { config.to_vec() });
    }

    fn embedded(&self, config: &[Resource]) {
        let Some(limiter) = &self.limiter else { return };
        let of_limits = config.iter().filter(|resource| resource.kind == ResourceType::RateLimitConfig);
        let decoded = of_limits.filter_map(|resource| match RateLimitConfig::decode(resource.body.clone()) {
            Ok(config) => Some(config),
            Err(error) => {
                tracing::error!(domain = %resource.name, %error, "limits cannot be read");
                None
            }
        });
        for refused in limiter.apply(&decoded.collect::<Vec<_>>()) {
            tracing::error!(%refused, "limits are not in force");
        }
    }
}
