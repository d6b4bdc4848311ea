//! Which Envoys we run ourselves.

use std::time::Duration;

use anyhow::Context as _;

use crate::managed::Settings;
use crate::managed::certificates::Lifetimes;

/// Envoys for the Gateways of a cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Envoys {
    /// Run Envoys for each Gateway, in the Gateway's namespace
    #[arg(long, env = "CHANCERY_RUN_ENVOYS", requires_all = ["kubernetes", "envoy_xds"])]
    run_envoys: bool,
    /// Their image, unless an EnvoyProxy names another
    #[arg(
        long,
        value_name = "IMAGE",
        env = "CHANCERY_ENVOY_IMAGE",
        default_value = "envoyproxy/envoy:distroless-v1.40.0"
    )]
    envoy_image: String,
    /// Where they find the control plane
    #[arg(long, value_name = "HOST:PORT", env = "CHANCERY_ENVOY_XDS")]
    envoy_xds: Option<String>,
    /// Serve them configuration, and the secrets in it, in plain text: no certificates are issued
    #[arg(long, env = "CHANCERY_ENVOY_PLAINTEXT")]
    envoy_plaintext: bool,
    /// How long their certificates last; renewed when a third of that is left
    #[arg(long, value_name = "DURATION", env = "CHANCERY_ENVOY_CERTIFICATES_LAST", default_value = "2160h", value_parser = duration)]
    envoy_certificates_last: Duration,
    /// How long the authority lasts that issues them; its successor is trusted beside it for the last third
    #[arg(long, value_name = "DURATION", env = "CHANCERY_ENVOY_AUTHORITY_LASTS", default_value = "87600h", value_parser = duration)]
    envoy_authority_lasts: Duration,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    kinds::gateway::Duration::parse(text).map(|duration| duration.0).ok_or("not a duration such as 2160h or 90m")
}

impl Envoys {
    pub(crate) fn settings(&self, stock_limits: bool) -> anyhow::Result<Option<Settings>> {
        let Some(xds) = self.envoy_xds.clone().filter(|_| self.run_envoys) else { return Ok(None) };
        let lifetimes = Lifetimes::new(self.envoy_authority_lasts, self.envoy_certificates_last);
        let lifetimes =
            lifetimes.context("--envoy-authority-lasts: at least four times as long as --envoy-certificates-last")?;
        let (image, mutual_tls) = (self.envoy_image.clone(), !self.envoy_plaintext);
        Ok(Some(Settings { image, xds, mutual_tls, lifetimes, stock_limits }))
    }
}
