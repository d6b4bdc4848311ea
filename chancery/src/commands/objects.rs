//! Where the objects come from: manifests, or a Kubernetes API server.

use std::path::PathBuf;

use anyhow::Context;
use smol_str::SmolStr;
use sources::file::Scanner;
use sources::kubernetes::{self, Scope};
use translator::{AddressRange, CONTROLLER_NAME, Options, PickerBodies, SYSTEM_ROOTS};

use super::Translated;
use crate::managed::Settings;
use crate::serve::{self, Source};

#[derive(Debug, clap::Args)]
pub(crate) struct Objects {
    /// Directories (with all below them), files, or `-` for standard input
    #[arg(value_name = "DIR", required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: Cluster,
    /// How endpoint pickers take bodies: `streamed`, or each `whole` for those that say nothing before they have seen all
    /// of it. A pool may say otherwise by the annotation chancery.dev/picker-bodies
    #[arg(long, value_name = "HOW", env = "CHANCERY_PICKER_BODIES", default_value = "streamed")]
    picker_bodies: PickerBodies,
    /// The addresses that Gateways may ask for, as ranges; any, where none are said
    #[arg(long, value_name = "RANGE", env = "CHANCERY_GATEWAY_ADDRESSES", value_delimiter = ',')]
    gateway_addresses: Vec<AddressRange>,
    /// The file, where Envoys run, with the roots that `wellKnownCACertificates: System` means
    #[arg(long, value_name = "FILE", env = "CHANCERY_SYSTEM_ROOTS", default_value = SYSTEM_ROOTS)]
    system_roots: String,
}

/// The objects of a cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Cluster {
    /// Take the objects of a Kubernetes cluster: the one of KUBECONFIG, or the one that we run in
    #[arg(long, env = "CHANCERY_KUBERNETES")]
    kubernetes: bool,
    /// The controller whose GatewayClasses are ours; several, to take over from another controller
    #[arg(
        long,
        value_name = "NAME",
        env = "CHANCERY_CONTROLLER_NAME",
        value_delimiter = ',',
        default_value = CONTROLLER_NAME
    )]
    controller_name: Vec<String>,
    /// Look at the objects of these namespaces only
    #[arg(long, value_name = "NAMESPACE", env = "CHANCERY_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespace: Vec<SmolStr>,
    /// Of what users write, look only at objects with these labels, such as `team=a,stage!=test`
    #[arg(long, value_name = "SELECTOR", env = "CHANCERY_WATCH_LABELS")]
    watch_labels: Option<String>,
    /// The domain of the cluster's Services
    #[arg(long, value_name = "DOMAIN", env = "CHANCERY_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

/// One of several that serve a cluster.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Replica {
    /// Write no statuses and no events to the cluster
    #[arg(long, env = "CHANCERY_READ_ONLY")]
    read_only: bool,
    /// The Lease by which replicas agree who writes
    #[arg(long, value_name = "NAME", env = "CHANCERY_LEASE", default_value = "chancery")]
    lease: String,
    /// Its namespace; otherwise the one that we run in, or that KUBECONFIG names
    #[arg(long, value_name = "NAMESPACE", env = "CHANCERY_NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of this replica; otherwise the host's, with the process id
    #[arg(long, value_name = "NAME", env = "CHANCERY_IDENTITY")]
    identity: Option<String>,
}

impl Objects {
    pub(crate) fn source(&self, replica: &Replica, envoys: Option<Settings>) -> Source {
        if !self.cluster.kubernetes {
            return Source::Files(self.paths.clone());
        }
        let cluster = serve::Cluster {
            scope: self.cluster.scope(),
            controllers: self.cluster.controller_name.clone(),
            lease: (!replica.read_only).then(|| replica.lease()),
            envoys,
        };
        Source::Kubernetes(cluster.into())
    }

    /// Files are read whosever class they name: nobody else reads them.
    pub(crate) fn translation(&self) -> Options {
        let options = Options {
            cluster_domain: self.cluster.cluster_domain.clone(),
            picker_bodies: self.picker_bodies,
            system_roots: self.system_roots.clone(),
            gateway_addresses: self.gateway_addresses.clone(),
            ..Options::default()
        };
        if !self.cluster.kubernetes {
            return options;
        }
        Options { controllers: self.cluster.controller_name.clone(), take_unclassed: false, ..options }
    }

    /// Everything as it is now.
    pub(crate) fn translate(&self) -> anyhow::Result<Translated> {
        let batch = if self.cluster.kubernetes {
            let snapshot = kubernetes::snapshot(self.cluster.scope());
            super::runtime()?.block_on(snapshot)?.context("the API server could not be read")?
        } else {
            Scanner::new(self.paths.clone()).scan()
        };
        Ok(Translated::of(batch, self.translation()))
    }
}

impl Cluster {
    fn scope(&self) -> Scope {
        Scope { namespaces: self.watch_namespace.clone(), labels: self.watch_labels.clone() }
    }
}

impl Replica {
    fn lease(&self) -> serve::Lease {
        serve::Lease {
            namespace: self.lease_namespace.clone(),
            name: self.lease.clone(),
            identity: self.identity.clone().unwrap_or_else(this_process),
        }
    }
}

/// The name of a pod is that of its host; two processes of one host differ all the same.
fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
