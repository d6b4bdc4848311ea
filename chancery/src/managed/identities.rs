//! The authority, kept in a Secret, and what is issued by it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::apply::MANAGER;
use super::certificates::{self, Authority, LIMITS_IDENTITY, Pair};
use super::observe::resource;

/// The Secret of the authority, in our own namespace.
const AUTHORITY: &str = "chancery-authority";
/// The Secret of the stock rate limit service, beside it.
const LIMITS: &str = "chancery-ratelimit";
/// How often the server's certificate is looked at.
const LOOK: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Clone)]
pub(crate) struct Identities {
    authority: std::sync::Arc<Authority>,
}

impl Identities {
    /// Takes the authority that is there, or makes it. Of two replicas that make one at the same time, one wins.
    pub(crate) async fn open(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), namespace, &resource("v1", "Secret", "secrets"));
        loop {
            if let Some(secret) = api.get_opt(AUTHORITY).await.context("the authority cannot be read")? {
                let pair = pair_in(&secret.data["data"]).context("the Secret of the authority is not one")?;
                return Ok(Self { authority: Authority::load(&pair)?.into() });
            }
            let pair = certificates::new_authority(OffsetDateTime::now_utc())?;
            let secret: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": AUTHORITY, "namespace": namespace},
                "type": "kubernetes.io/tls",
                "data": {"tls.crt": BASE64.encode(&pair.certificate), "tls.key": BASE64.encode(&pair.key)},
            }))?;
            match api.create(&PostParams::default(), &secret).await {
                Ok(_) => tracing::info!(namespace, name = AUTHORITY, "a new authority for Envoys"),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(error).context("the authority cannot be stored"),
            }
        }
    }

    /// Keeps the Secret of the stock rate limit service, in our own namespace.
    async fn write_limits(&self, client: &Client, namespace: &str) -> anyhow::Result<()> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), namespace, &resource("v1", "Secret", "secrets"));
        let there = api.get_opt(LIMITS).await?;
        let there = there.as_ref().map(|secret| &secret.data["data"]);
        let data = self.data_for(LIMITS_IDENTITY, there, OffsetDateTime::now_utc())?;
        if there == Some(&data) {
            return Ok(());
        }
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": LIMITS, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "data": data,
        });
        api.patch(LIMITS, &PatchParams::apply(MANAGER).force(), &Patch::Apply(secret)).await?;
        Ok(())
    }

    /// What the Secret of a client holds: what is there, while that is good.
    pub(super) fn data_for(&self, name: &str, there: Option<&Value>, now: OffsetDateTime) -> anyhow::Result<Value> {
        let good = there.filter(|data| {
            let ours = text_in(data, "ca.crt").is_some_and(|authority| authority == self.authority.certificate);
            let pair = pair_in(data);
            ours && pair.is_some_and(|pair| certificates::still_good(&pair.certificate, name, now))
        });
        if let Some(data) = good {
            return Ok(data.clone());
        }
        let pair = self.authority.client(name, now)?;
        Ok(json!({
            "tls.crt": BASE64.encode(&pair.certificate),
            "tls.key": BASE64.encode(&pair.key),
            "ca.crt": BASE64.encode(&self.authority.certificate),
        }))
    }

    /// Writes the certificate of the xDS port for these names, where it is not good any more.
    pub(crate) fn write_server(&self, files: &ServerFiles, names: &[&str]) -> anyhow::Result<()> {
        let now = OffsetDateTime::now_utc();
        let there = std::fs::read_to_string(&files.certificate).unwrap_or_default();
        let ours = std::fs::read_to_string(&files.client_ca).is_ok_and(|text| text == self.authority.certificate);
        if ours && names.iter().all(|name| certificates::still_good(&there, name, now)) && files.key.exists() {
            return Ok(());
        }
        let pair = self.authority.server(names, now)?;
        for (path, text) in [
            (&files.key, &pair.key),
            (&files.certificate, &pair.certificate),
            (&files.client_ca, &self.authority.certificate),
        ] {
            write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    /// Renews the certificate of the xDS port in time, and that of the rate limit service where there is one, for ever.
    pub(crate) async fn keep(self, files: ServerFiles, server_name: String, limits: Option<(Client, String)>) {
        loop {
            if let Some((client, namespace)) = &limits
                && let Err(error) = self.write_limits(client, namespace).await
            {
                tracing::warn!(%error, "the certificate of the rate limit service cannot be written");
            }
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.write_server(&files, &[&server_name]) {
                tracing::warn!(%error, "the certificate of the xDS port is not renewed");
            }
        }
    }
}

/// Where the xDS port finds its certificate.
#[derive(Clone, Debug)]
pub(crate) struct ServerFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

impl ServerFiles {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        let file = |name| directory.join(name);
        Self { certificate: file("tls.crt"), key: file("tls.key"), client_ca: file("ca.crt") }
    }
}

/// Beside it and then over it: a reader sees the one or the other.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(beside, path)
}

fn text_in(data: &Value, name: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(data.get(name)?.as_str()?).ok()?).ok()
}

fn pair_in(data: &Value) -> Option<Pair> {
    Some(Pair { certificate: text_in(data, "tls.crt")?, key: text_in(data, "tls.key")? })
}
