//! The control plane: one task owns the translation; everything else reads what it publishes.
//!
//! ```text
//! source --Batch--> control (Translator) --GroupChange--> Snapshots --> xDS server
//!                                  \--> View (statuses, findings) --> admin, statuses in a cluster
//! ```

mod admin;
mod cluster;
mod control;
mod limits;
mod limits_page;
mod lingering;
mod programmed;
mod traces;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use translator::{Options, Translator, UNRESOLVED_CLUSTER};
use xds_api::ResourceType;
use xds_server::{Apart, Keeper, Server, ServerOptions, Snapshots, Withheld};

use crate::commands::serve::Limits;
use crate::managed::start::Managed;

pub(crate) use cluster::{Cluster, Lease};
pub(crate) use control::View;
use traces::Traces;

#[derive(Debug)]
pub(crate) struct Config {
    pub source: Source,
    pub translation: Options,
    pub xds: SocketAddr,
    pub admin: SocketAddr,
    pub limits: Limits,
    pub options: ServerOptions,
    pub state_dir: Option<PathBuf>,
    /// Clusters that Envoys have from their bootstraps: resources may name them.
    pub bootstrap_clusters: Vec<String>,
    /// Where traces are sent.
    pub traces: Option<String>,
}

/// Where objects come from.
#[derive(Debug)]
pub(crate) enum Source {
    Files(Vec<PathBuf>),
    Kubernetes(Box<Cluster>),
}

/// How often changed snapshots are written to the state directory.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long the source may take to be read, until what was saved is served in its stead: it may be older than what Envoys
/// have.
const FIRST_LOAD: Duration = Duration::from_secs(10);
/// The static clusters of our own bootstraps.
const BOOTSTRAP_CLUSTERS: [&str; 2] = ["chancery", "chancery-admin"];
const HAND_OVER: Duration = Duration::from_secs(2);

/// Serves until the process is told to end.
pub(crate) async fn serve(config: Config, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let xds = xds_server::listen(config.xds).with_context(|| format!("xDS address {}", config.xds))?;
    let admin = TcpListener::bind(config.admin).await.with_context(|| format!("admin address {}", config.admin))?;
    let counters = limits::Service::bind(config.limits.embedded(), config.state_dir.as_deref()).await?;
    tracing::info!(xds = %xds.local_addr()?, admin = %admin.local_addr()?, "chancery {}", env!("CARGO_PKG_VERSION"));

    let own = BOOTSTRAP_CLUSTERS.into_iter().chain(config.bootstrap_clusters.iter().map(String::as_str));
    let clusters = own.chain([UNRESOLVED_CLUSTER]).map(|name| (ResourceType::Cluster, name));
    let snapshots = Snapshots::with(Apart::new(clusters));
    let keeper = match &config.state_dir {
        Some(directory) => {
            let opened = Keeper::open(snapshots.clone(), directory);
            Some(opened.with_context(|| format!("state directory {}", directory.display()))?)
        }
        None => None,
    };
    if !snapshots.restored().is_empty() {
        tokio::spawn(fall_back(snapshots.clone()));
    }
    let (envoys, options) = match &config.source {
        Source::Kubernetes(cluster) => open_envoys(cluster, config.state_dir.as_deref(), config.options).await?,
        Source::Files(_) => (None, config.options),
    };
    let server = Server::new(snapshots.clone(), options);
    let mut registry = Registry::default();
    server.metrics().register(&mut registry);
    registry.register_collector(Box::new(Withheld(snapshots.clone())));
    let limiter = counters.as_ref().map(|service| service.limiter.clone());
    if let Some(limiter) = &limiter {
        registry.register_collector(Box::new(limiter.metrics()));
    }
    let told = limits::Told::new(snapshots.clone(), limiter.clone());
    told.restore();
    let view = Arc::new(ArcSwap::from_pointee(View::default()));
    let pages = admin::pages(admin::State {
        snapshots: snapshots.clone(),
        fleet: server.fleet(),
        view: view.clone(),
        registry: Arc::new(registry),
        limiter,
    });
    let (traces, exporting) = match &config.traces {
        Some(endpoint) => {
            let (traces, exporting) = Traces::start(endpoint, server.fleet())?;
            (Some(traces), Some(exporting))
        }
        None => (None, None),
    };
    let (batches, received) = mpsc::channel(4);
    let (running, over) = watch::channel(());
    let mut reporting = None;
    let audience = match config.source {
        Source::Files(paths) => {
            std::thread::Builder::new().name("files".into()).spawn(move || sources::file::watch(paths, &batches))?;
            None
        }
        Source::Kubernetes(cluster) => {
            let fleet = server.fleet();
            let (audience, leading) = cluster::start(*cluster, &view, &snapshots, fleet, envoys, batches, over).await?;
            reporting = Some(leading);
            Some(audience)
        }
    };
    // A thread of its own: the source never ends, and the process must not wait for it.
    let translator = Translator::new(Options { limits: config.limits.service(), ..config.translation });
    let batches = control::Batches { runtime: tokio::runtime::Handle::current(), received };
    std::thread::Builder::new().name("control".into()).spawn(move || {
        control::run(translator, batches, &snapshots, &told, &view, audience.as_ref(), traces.as_ref())
    })?;
    let admin = tokio::spawn(async move { axum::serve(admin, pages).await });
    let counting = counters.map(limits::Service::start);
    let (ended, end) = std::sync::mpsc::channel();
    let keeping = keeper.map(|keeper| tokio::task::spawn_blocking(move || keep(keeper, &end)));
    server.serve(xds, shutdown).await;
    drop(ended);
    if let Some(counting) = counting {
        counting.end().await;
    }
    if let Some(keeping) = keeping {
        keeping.await?;
    }
    drop(running);
    if let Some(reporting) = reporting {
        // The leader hands over; an API server that does not answer is not waited for.
        let _ = tokio::time::timeout(HAND_OVER, reporting).await;
    }
    if let Some(exporting) = exporting {
        exporting.end().await;
    }
    admin.abort();
    Ok(())
}

async fn fall_back(snapshots: Snapshots) {
    tokio::time::sleep(FIRST_LOAD).await;
    if snapshots.fall_back() {
        tracing::warn!("the source is not read yet: the last good snapshot is served until it is");
    }
}

/// Where Envoys have certificates of ours, they open the xDS port, and nothing else does.
async fn open_envoys(
    cluster: &Cluster,
    state_dir: Option<&Path>,
    options: ServerOptions,
) -> anyhow::Result<(Option<Managed>, ServerOptions)> {
    let Some(settings) = cluster.envoys.clone() else { return Ok((None, options)) };
    let client = sources::kubernetes::connect().await?;
    let namespace = cluster.lease.as_ref().and_then(|lease| lease.namespace.clone());
    let (managed, secured) = Managed::open(client, namespace, settings, &cluster.controllers, state_dir).await?;
    Ok((Some(managed), secured.unwrap_or(options)))
}

/// Writes what has changed, until the other end is dropped, and then once more.
fn keep(mut keeper: Keeper, end: &std::sync::mpsc::Receiver<()>) {
    loop {
        let over = end.recv_timeout(SAVE_EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
        if let Err(error) = keeper.save_changed() {
            tracing::warn!(%error, "a snapshot is not saved");
        }
        if over {
            return;
        }
    }
}

/// Ends when the process is asked to: by a terminal or by whoever started it.
pub(crate) async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("asked to end: draining");
}
