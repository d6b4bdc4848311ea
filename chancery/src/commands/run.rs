//! `chancery run DIR`: the whole gateway on one machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use super::Manifests;
use super::bootstrap::{self, Protocol, Transport};
use super::serve::{Addresses, Limits, Security, Traces};
use crate::serve::{Config, Source, asked_to_end, serve};

/// Serve manifests and run an Envoy for them: the whole gateway on one machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    addresses: Addresses,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    security: Security,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    traces: Traces,
    /// The Gateway to run; needed when the manifests hold several
    #[arg(long, value_name = "NAMESPACE/NAME", env = "CHANCERY_GATEWAY")]
    gateway: Option<String>,
    /// The Envoy to run; otherwise the one on PATH
    #[arg(long, value_name = "PATH", env = "ENVOY_BIN")]
    envoy: Option<PathBuf>,
    /// The address of Envoy's own admin pages
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9901", env = "CHANCERY_ENVOY_ADMIN")]
    envoy_admin: String,
}

/// An Envoy that dies is started again, not faster than this.
const RESTART: Duration = Duration::from_secs(1);
/// How long Envoy may take to end its connections.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::start_logging();
    let gateway = match &args.gateway {
        Some(gateway) => gateway.clone(),
        None => only_gateway(&args.manifests)?,
    };
    anyhow::ensure!(
        args.security.is_tls() == args.transport.xds_ca.is_some(),
        "the Envoy that is run reaches this xDS port: --xds-tls-cert and --xds-ca go together"
    );
    let bootstrap = bootstrap::render(&bootstrap::Args {
        gateway: gateway.clone(),
        xds: vec![args.addresses.xds.to_string()],
        admin: args.envoy_admin.clone(),
        node_id: "chancery-run".to_owned(),
        protocol: Protocol::Delta,
        transport: args.transport.clone(),
    })?;
    let directory = std::env::temp_dir().join(format!("chancery-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("envoy.yaml");
    std::fs::write(&path, bootstrap)?;
    let config = Config {
        source: Source::Files(args.manifests.paths.clone()),
        translation: translator::Options::default(),
        xds: args.addresses.xds,
        admin: args.addresses.admin,
        limits: args.limits.clone(),
        options: args.security.options(args.addresses.xds, false)?,
        state_dir: None,
        bootstrap_clusters: Vec::new(),
        traces: args.traces.otlp_endpoint.clone(),
    };
    let envoy = args.envoy.clone().unwrap_or_else(|| PathBuf::from("envoy"));
    let result = super::runtime()?.block_on(async {
        let (ended, end) = tokio::sync::watch::channel(false);
        let mut control = tokio::spawn(serve(config, async move {
            let mut end = end;
            let _ = end.wait_for(|end| *end).await;
        }));
        let result = tokio::select! {
            () = asked_to_end() => Ok(()),
            result = keep_running(&envoy, &path) => result,
            result = &mut control => return result?,
        };
        ended.send_replace(true);
        control.await??;
        result
    });
    let _ = std::fs::remove_dir_all(&directory);
    result.map(|()| ExitCode::SUCCESS)
}

fn only_gateway(manifests: &Manifests) -> anyhow::Result<String> {
    let translated = manifests.translate();
    let gateways: Vec<String> =
        translated.translator.resources().keys().map(|id| format!("{}/{}", id.namespace, id.name)).collect();
    match gateways.as_slice() {
        [one] => Ok(one.clone()),
        [] => anyhow::bail!("the manifests hold no Gateway with a valid listener: see `chancery check`"),
        several => {
            anyhow::bail!("the manifests hold several Gateways: choose one with --gateway: {}", several.join(", "))
        }
    }
}

/// Runs Envoy for as long as the future lives; ends with an error only when it cannot be started at all.
async fn keep_running(envoy: &Path, bootstrap: &Path) -> anyhow::Result<()> {
    loop {
        let mut child = Command::new(envoy)
            .args(["--use-dynamic-base-id", "--log-level", "warn", "-c"])
            .arg(bootstrap)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("Envoy ({}) cannot be started: name it with --envoy", envoy.display()))?;
        let guard = StopInGoodOrder(child.id());
        let status = child.wait().await?;
        std::mem::forget(guard);
        tracing::warn!(%status, "Envoy ended: it is started again");
        tokio::time::sleep(RESTART).await;
    }
}

/// Asks Envoy to end when the wait for it is given up.
struct StopInGoodOrder(Option<u32>);

impl Drop for StopInGoodOrder {
    fn drop(&mut self) {
        let Some(pid) = self.0 else { return };
        let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
        let begin = std::time::Instant::now();
        let alive = || Path::new(&format!("/proc/{pid}")).exists();
        while alive() && begin.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
