//! The authorities, kept in a Secret, and what is issued by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::apply::MANAGER;
use super::authorities::Authorities;
use super::certificates::{LIMITS_IDENTITY, Lifetimes, Pair};
use super::observe::resource;

/// The Secret of the authorities, in our own namespace.
const AUTHORITY: &str = "chancery-authority";
/// The Secret of the stock rate limit service, beside it.
const LIMITS: &str = "chancery-ratelimit";

/// Cloning it is cheap: all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Identities(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Secrets of our own namespace.
    secrets: Api<DynamicObject>,
    namespace: String,
    lifetimes: Lifetimes,
    authorities: ArcSwap<Authorities>,
}

impl Identities {
    /// Takes the authorities that are there, or makes one.
    pub(crate) async fn open(client: &Client, namespace: &str, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        let secrets = Api::namespaced_with(client.clone(), namespace, &resource("v1", "Secret", "secrets"));
        let authorities = ArcSwap::from_pointee(settle(&secrets, lifetimes).await?);
        Ok(Self(Arc::new(Inner { secrets, namespace: namespace.to_owned(), lifetimes, authorities })))
    }

    /// How often it is to be looked at what is due.
    pub(super) fn look(&self) -> Duration {
        self.0.lifetimes.look()
    }

    /// Keeps the Secret of the stock rate limit service, in our own namespace.
    async fn write_limits(&self) -> anyhow::Result<()> {
        let there = self.0.secrets.get_opt(LIMITS).await?;
        let there = there.as_ref().map(|secret| &secret.data["data"]);
        let data = self.data_for(LIMITS_IDENTITY, there, OffsetDateTime::now_utc())?;
        if there == Some(&data) {
            return Ok(());
        }
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": LIMITS, "namespace": self.0.namespace},
            "type": "kubernetes.io/tls",
            "data": data,
        });
        self.0.secrets.patch(LIMITS, &PatchParams::apply(MANAGER).force(), &Patch::Apply(secret)).await?;
        Ok(())
    }

    /// What the Secret of a client holds: what is there, while that is good, and whom it is to trust.
    pub(super) fn data_for(&self, name: &str, there: Option<&Value>, now: OffsetDateTime) -> anyhow::Result<Value> {
        let authorities = self.0.authorities.load();
        let good = there.and_then(pair_in).filter(|pair| authorities.vouch_for(&pair.certificate, name, now));
        let pair = match good {
            Some(pair) => pair,
            None => authorities.issuing(now).context("there is no authority")?.client(name, now)?,
        };
        Ok(json!({
            "tls.crt": BASE64.encode(&pair.certificate),
            "tls.key": BASE64.encode(&pair.key),
            "ca.crt": BASE64.encode(authorities.trusted()),
        }))
    }

    /// Writes the certificate of the xDS port for these names, and whom it trusts, where they are not good any more.
    pub(crate) fn write_server(&self, files: &ServerFiles, names: &[&str]) -> anyhow::Result<()> {
        let authorities = self.0.authorities.load();
        let now = OffsetDateTime::now_utc();
        let put = |path: &Path, text: &str| {
            write(path, text).with_context(|| format!("{} cannot be written", path.display()))
        };
        let there = std::fs::read_to_string(&files.certificate).unwrap_or_default();
        if !(names.iter().all(|name| authorities.vouch_for(&there, name, now)) && files.key.exists()) {
            let pair = authorities.issuing(now).context("there is no authority")?.server(names, now)?;
            put(&files.key, &pair.key)?;
            put(&files.certificate, &pair.certificate)?;
        }
        let trusted = authorities.trusted();
        if !std::fs::read_to_string(&files.client_ca).is_ok_and(|text| text == trusted) {
            put(&files.client_ca, &trusted)?;
        }
        Ok(())
    }

    /// Renews in time, for ever: the authorities, the certificate of the xDS port, and that of the rate limit service where
    /// there is one.
    pub(crate) async fn keep(self, files: ServerFiles, server_name: String, limits: bool) {
        loop {
            if limits && let Err(error) = self.write_limits().await {
                tracing::warn!(%error, "the certificate of the rate limit service cannot be written");
            }
            tokio::time::sleep(self.look()).await;
            match settle(&self.0.secrets, self.0.lifetimes).await {
                Ok(authorities) => self.0.authorities.store(authorities.into()),
                Err(error) => tracing::warn!(%error, "the authority of Envoys cannot be looked at"),
            }
            if let Err(error) = self.write_server(&files, &[&server_name]) {
                tracing::warn!(%error, "the certificate of the xDS port is not renewed");
            }
        }
    }
}

/// The authorities as they should be: those of the Secret, which is written where it is time. Of two replicas that write it
/// at the same time, one wins.
async fn settle(secrets: &Api<DynamicObject>, lifetimes: Lifetimes) -> anyhow::Result<Authorities> {
    loop {
        let now = OffsetDateTime::now_utc();
        let there = secrets.get_opt(AUTHORITY).await.context("the authority cannot be read")?;
        let written = match there {
            Some(secret) => {
                let pair = pair_in(&secret.data["data"]).context("the Secret of the authority is not one")?;
                let authorities = Authorities::load(&pair, lifetimes).context("the Secret of the authority")?;
                let Some(next) = authorities.renewed(now)? else { return Ok(authorities) };
                let version = secret.metadata.resource_version;
                let patch = json!({"metadata": {"resourceVersion": version}, "data": data_of(&next)});
                secrets.patch(AUTHORITY, &PatchParams::default(), &Patch::Merge(patch)).await
            }
            None => {
                let secret = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": AUTHORITY},
                    "type": "kubernetes.io/tls",
                    "data": data_of(&Authorities::first(now, lifetimes)?),
                });
                secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await
            }
        };
        match written {
            Ok(_) => tracing::info!(name = AUTHORITY, "the authority of Envoys is renewed"),
            // Somebody else was first.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error).context("the authority cannot be stored"),
        }
    }
}

fn data_of(authorities: &Authorities) -> Value {
    let Pair { certificate, key } = authorities.kept();
    json!({"tls.crt": BASE64.encode(certificate), "tls.key": BASE64.encode(key)})
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
