//! Which Envoys we run ourselves.

use crate::managed::Settings;

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
}

impl Envoys {
    pub(crate) fn settings(&self, stock_limits: bool) -> Option<Settings> {
        let xds = self.envoy_xds.clone().filter(|_| self.run_envoys)?;
        Some(Settings { image: self.envoy_image.clone(), xds, mutual_tls: !self.envoy_plaintext, stock_limits })
    }
}
