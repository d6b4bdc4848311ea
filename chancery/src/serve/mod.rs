//! The control plane: one task owns the translation; everything else reads what it publishes.
//!
//! ```text
//! source thread --Batch--> control (Translator) --GroupChange--> Snapshots --> xDS server
//!                                         \--> View (statuses, findings) --> admin
//! ```

mod admin;
mod control;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use xds_server::{Server, ServerOptions, Snapshots};

pub(crate) use control::View;

#[derive(Debug)]
pub(crate) struct Config {
    pub paths: Vec<PathBuf>,
    pub xds: SocketAddr,
    pub admin: SocketAddr,
}

/// Serves until the process is told to end.
pub(crate) async fn serve(config: Config, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let xds = TcpListener::bind(config.xds).await.with_context(|| format!("xDS address {}", config.xds))?;
    let admin = TcpListener::bind(config.admin).await.with_context(|| format!("admin address {}", config.admin))?;
    tracing::info!(xds = %xds.local_addr()?, admin = %admin.local_addr()?, "chancery {}", env!("CARGO_PKG_VERSION"));

    let snapshots = Snapshots::new();
    let server = Server::new(snapshots.clone(), ServerOptions::default());
    let view = Arc::new(ArcSwap::from_pointee(View::default()));
    let pages = admin::pages(admin::State { snapshots: snapshots.clone(), fleet: server.fleet(), view: view.clone() });
    let (batches, received) = mpsc::channel(4);
    let paths = config.paths;
    std::thread::Builder::new().name("files".into()).spawn(move || sources::file::watch(paths, &batches))?;
    let control = tokio::task::spawn_blocking(move || control::run(received, &snapshots, &view));
    let admin = tokio::spawn(async move { axum::serve(admin, pages).await });
    server.serve(xds, shutdown).await;
    admin.abort();
    control.abort();
    Ok(())
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
