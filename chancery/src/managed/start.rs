//! Envoys of a cluster, from the process's point of view.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kube::Client;
use tokio::sync::watch;
use xds_server::{Access, AccessRule, ServerOptions, Tls, TlsFiles};

use super::apply::{Applier, Deployments};
use super::certificates::{IDENTITY_PREFIX, LIMITS_IDENTITY};
use super::identities::{Identities, ServerFiles};
use super::{Settings, names};

/// What runs Envoys, before it is known who leads.
pub(crate) struct Managed {
    client: Client,
    settings: Settings,
    instance: String,
    identities: Option<Identities>,
    /// Holds our certificate where no directory was named.
    _directory: Option<tempfile::TempDir>,
}

impl Managed {
    /// Opens the authorities where certificates are issued, and writes ours into a directory.
    pub(crate) async fn open(
        client: Client,
        namespace: Option<String>,
        settings: Settings,
        controllers: &[String],
        directory: Option<&Path>,
    ) -> anyhow::Result<(Self, Option<ServerOptions>)> {
        let instance = names::instance(controllers.first().map(String::as_str).unwrap_or_default());
        if !settings.mutual_tls {
            return Ok((Self { client, settings, instance, identities: None, _directory: None }, None));
        }
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let identities = Identities::open(&client, &namespace, settings.lifetimes).await?;
        let (directory, made): (PathBuf, _) = match directory {
            Some(directory) => (directory.to_owned(), None),
            None => {
                let made = tempfile::tempdir().context("no place for our own certificate")?;
                (made.path().to_owned(), Some(made))
            }
        };
        let files = ServerFiles::in_directory(&directory);
        let server_name = settings.server_name().to_owned();
        identities.write_server(&files, &[&server_name])?;
        let tls = Tls::load(TlsFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            client_ca: Some(files.client_ca.clone()),
        })
        .context("our own certificate")?;
        tokio::spawn(identities.clone().keep(files, server_name, settings.stock_limits));
        let limits = AccessRule::new(LIMITS_IDENTITY, "");
        let access = Access::new(vec![limits]).with_gateways(IDENTITY_PREFIX);
        let options = ServerOptions { tls: Some(tls), access, ..ServerOptions::default() };
        Ok((Self { client, settings, instance, identities: Some(identities), _directory: made }, Some(options)))
    }

    /// Runs Envoys while we lead, until the translation ends.
    pub(crate) async fn run(self, deployments: watch::Receiver<Deployments>, leads: watch::Receiver<bool>) {
        let Self { client, settings, instance, identities, _directory } = self;
        Applier { client, settings, instance, identities, deployments, leads }.run().await;
    }
}
