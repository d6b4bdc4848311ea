//! A stock Envoy as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use crate::{HttpClient, eventually, free_port};

/// The Envoy that `make envoy` installs, or the one that `ENVOY_BIN` names.
///
/// # Errors
/// When there is none.
pub fn envoy_binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("ENVOY_BIN") {
        return Ok(PathBuf::from(named));
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/envoy-1.40.0/envoy");
    if cached.exists() {
        return Ok(cached);
    }
    bail!("no Envoy at {}: run `make envoy`, or set ENVOY_BIN", cached.display())
}

/// Has Envoy judge a configuration; its words when it refuses.
///
/// # Errors
/// When Envoy refuses the configuration or cannot be run.
pub fn validate(config: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("envoy.yaml");
    std::fs::write(&path, config)?;
    let output = std::process::Command::new(envoy_binary()?)
        .args(["--mode", "validate", "--log-level", "warn", "-c"])
        .arg(&path)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{}", String::from_utf8_lossy(&output.stderr))
}

#[derive(Debug)]
pub struct Envoy {
    child: Child,
    admin: u16,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Envoy {
    /// Starts Envoy with a bootstrap and waits until it is ready to take traffic.
    ///
    /// The admin port of the bootstrap must be `{admin}`, which is replaced by a free one.
    pub async fn start(bootstrap: &str) -> anyhow::Result<Self> {
        let envoy = Self::launch(bootstrap)?;
        let ready = || async { envoy.admin("/ready").await.filter(|reply| reply.starts_with("LIVE")) };
        eventually("Envoy is ready", Duration::from_secs(30), ready).await;
        Ok(envoy)
    }

    /// Starts Envoy and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(bootstrap: &str) -> anyhow::Result<Self> {
        let admin = free_port();
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("envoy.yaml");
        let log = directory.path().join("envoy.log");
        std::fs::write(&config, bootstrap.replace("{admin}", &admin.to_string()))?;
        let output = std::fs::File::create(&log)?;
        let child = Command::new(envoy_binary()?)
            .args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info", "-c"])
            .arg(&config)
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .kill_on_drop(true)
            .spawn()
            .context("Envoy cannot be started")?;
        Ok(Self { child, admin, log, _directory: directory })
    }

    /// None when it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The body of an admin page; none while Envoy does not answer.
    pub async fn admin(&self, path: &str) -> Option<String> {
        let reply = HttpClient::new(self.admin).get(path).await.ok()?;
        Some(reply.text())
    }

    /// A counter or gauge; 0 when it was never touched.
    pub async fn stat(&self, name: &str) -> u64 {
        let text = self.admin(&format!("/stats?filter=^{name}$")).await.unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        value.unwrap_or(0)
    }

    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
