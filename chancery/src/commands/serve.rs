//! `chancery serve DIR`: the control plane.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::Manifests;
use crate::serve::{Config, asked_to_end, serve};

/// Serve the configuration of manifests to Envoys, and follow every edit
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    pub addresses: Addresses,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Addresses {
    /// Where Envoys connect
    #[arg(long, env = "CHANCERY_XDS", default_value = "127.0.0.1:18000")]
    pub xds: SocketAddr,
    /// Health, metrics, and the view of the fleet
    #[arg(long, env = "CHANCERY_ADMIN", default_value = "127.0.0.1:19000")]
    pub admin: SocketAddr,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::start_logging();
    let config = Config { paths: args.manifests.paths.clone(), xds: args.addresses.xds, admin: args.addresses.admin };
    super::runtime()?.block_on(serve(config, asked_to_end()))?;
    Ok(ExitCode::SUCCESS)
}
