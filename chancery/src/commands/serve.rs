//! `chancery serve DIR` and `chancery serve --kubernetes`: the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use translator::{Address, LimitService};
use xds_server::{Access, AccessRule, ServerOptions, Tls, TlsFiles};

use super::envoys::Envoys;
use super::objects::{Objects, Replica};
use crate::serve::{Config, asked_to_end, serve};

/// Serve the configuration of manifests, or of a Kubernetes cluster, to Envoys, and follow every edit
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    objects: Objects,
    #[command(flatten)]
    replica: Replica,
    #[command(flatten)]
    pub addresses: Addresses,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub security: Security,
    #[command(flatten)]
    pub envoys: Envoys,
    /// Keep the last good snapshot of each Gateway and the counters of limits here: counters go on after a restart, and
    /// the snapshot is served where manifests or cluster cannot be read, or have errors
    #[arg(long, value_name = "DIR", env = "CHANCERY_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Clusters that Envoys have from bootstraps of your own: patches may name them. Whatever names a cluster that is
    /// neither here nor published is held back
    #[arg(long, value_name = "NAME", env = "CHANCERY_BOOTSTRAP_CLUSTERS", value_delimiter = ',')]
    bootstrap_clusters: Vec<String>,
    #[command(flatten)]
    traces: Traces,
}

/// Where it is told what became of changes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Traces {
    /// A collector for traces of changes, from the edit to the last acknowledgement: OTLP over gRPC, in plain text
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// Who counts what limits are about.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Limits {
    /// Where the embedded rate limit service listens
    #[arg(long, value_name = "ADDR", env = "CHANCERY_RATELIMIT", default_value = "127.0.0.1:18081")]
    ratelimit: SocketAddr,
    /// How Envoys reach it, where that is not the address it listens on
    #[arg(long, value_name = "HOST:PORT", env = "CHANCERY_RATELIMIT_ADVERTISE", value_parser = address)]
    ratelimit_advertise: Option<Address>,
    /// A stock rate limit service that Envoys ask instead: it fetches its configuration from the xDS port
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CHANCERY_RATELIMIT_SERVICE",
        value_parser = address,
        conflicts_with_all = ["ratelimit", "ratelimit_advertise"]
    )]
    ratelimit_service: Option<Address>,
}

fn address(text: &str) -> Result<Address, String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.filter(|(host, _)| !host.is_empty()).ok_or("not HOST:PORT")?;
    Ok(Address { host: host.trim_matches(['[', ']']).to_owned(), port })
}

impl Limits {
    /// Where the embedded service listens; none where a stock one is asked.
    pub(crate) fn embedded(&self) -> Option<SocketAddr> {
        self.ratelimit_service.is_none().then_some(self.ratelimit)
    }

    pub(crate) fn service(&self) -> LimitService {
        if let Some(stock) = &self.ratelimit_service {
            return LimitService::Stock(stock.clone());
        }
        let own = || Address { host: self.ratelimit.ip().to_string(), port: self.ratelimit.port() };
        LimitService::Embedded(self.ratelimit_advertise.clone().unwrap_or_else(own))
    }
}

/// Who may connect to the xDS port.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Security {
    /// The certificate of the xDS port, in PEM; a changed file is taken in at once
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_TLS_CERT", requires = "xds_tls_key")]
    xds_tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_TLS_KEY", requires = "xds_tls_cert")]
    xds_tls_key: Option<PathBuf>,
    /// The authority that signs the certificates of Envoys; with it, Envoys without one are refused
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_CLIENT_CA", requires = "xds_tls_cert")]
    xds_client_ca: Option<PathBuf>,
    /// Which identity (URI or DNS name of a certificate) may ask for which Gateway; `*` stands for any text. Without any
    /// rule, whoever may connect may ask for every Gateway
    #[arg(
        long,
        value_name = "IDENTITY=NAMESPACE/NAME",
        env = "CHANCERY_XDS_ALLOW",
        value_delimiter = ',',
        requires = "xds_client_ca"
    )]
    xds_allow: Vec<AccessRule>,
    /// Serve xDS in plain text on an address that is not loopback
    #[arg(long, env = "CHANCERY_XDS_PLAINTEXT")]
    xds_plaintext: bool,
}

impl Security {
    pub(crate) fn is_tls(&self) -> bool {
        self.xds_tls_cert.is_some()
    }

    /// With certificates of our own (`own`) there is nothing to be given.
    pub(crate) fn options(&self, xds: SocketAddr, own: bool) -> anyhow::Result<ServerOptions> {
        if own {
            let given = self.xds_tls_cert.is_some() || self.xds_plaintext;
            anyhow::ensure!(
                !given,
                "the Envoys that are run have certificates of ours: give --envoy-plaintext, or no --xds-… options"
            );
            return Ok(ServerOptions::default());
        }
        let tls = match (&self.xds_tls_cert, &self.xds_tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::load(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.xds_client_ca.clone(),
            })?),
            _ => None,
        };
        if tls.is_none() && !xds.ip().is_loopback() && !self.xds_plaintext {
            anyhow::bail!(
                "configuration holds secrets, and {xds} can be reached from elsewhere: give --xds-tls-cert and \
                 --xds-tls-key, or --xds-plaintext if the network is trusted"
            );
        }
        Ok(ServerOptions { tls, access: Access::new(self.xds_allow.clone()), ..ServerOptions::default() })
    }
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
    let stock = matches!(args.limits.service(), LimitService::Stock(_));
    let envoys = args.envoys.settings(stock)?;
    let own = envoys.as_ref().is_some_and(|envoys| envoys.mutual_tls);
    let config = Config {
        source: args.objects.source(&args.replica, envoys),
        translation: args.objects.translation(),
        xds: args.addresses.xds,
        admin: args.addresses.admin,
        limits: args.limits.clone(),
        options: args.security.options(args.addresses.xds, own)?,
        state_dir: args.state_dir.clone(),
        bootstrap_clusters: args.bootstrap_clusters.clone(),
        traces: args.traces.otlp_endpoint.clone(),
    };
    super::runtime()?.block_on(serve(config, asked_to_end()))?;
    Ok(ExitCode::SUCCESS)
}
