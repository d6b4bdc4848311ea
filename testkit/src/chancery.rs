//! The control plane as a child process, over a directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::{HttpClient, eventually, free_port};

/// `chancery serve DIR`, ready to answer Envoys.
#[derive(Debug)]
pub struct Chancery {
    child: Child,
    binary: PathBuf,
    pub xds: u16,
    pub admin: u16,
    pub ratelimit: u16,
    options: Vec<String>,
    directory: tempfile::TempDir,
}

impl Chancery {
    /// Starts the binary over files, each a name and a text, and waits until it is ready.
    pub async fn start(binary: &str, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_with(binary, files, &[]).await
    }

    /// With further options.
    pub async fn start_with(binary: &str, files: &[(&str, &str)], options: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text)?;
        }
        let (xds, admin, ratelimit) = (free_port(), free_port(), free_port());
        let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        options.extend(["--xds".to_owned(), format!("127.0.0.1:{xds}")]);
        options.extend(["--admin".to_owned(), format!("127.0.0.1:{admin}")]);
        if !options.iter().any(|option| option == "--ratelimit-service") {
            options.extend(["--ratelimit".to_owned(), format!("127.0.0.1:{ratelimit}")]);
        }
        let binary = PathBuf::from(binary);
        let child = spawn(&binary, directory.path(), &options)?;
        let control = Self { child, binary, xds, admin, ratelimit, options, directory };
        control.ready().await;
        Ok(control)
    }

    async fn ready(&self) {
        let ask =
            || async { HttpClient::new(self.admin).get("/readyz").await.ok().filter(|reply| reply.status == 200) };
        eventually("the control plane is ready", Duration::from_secs(20), ask).await;
    }

    /// Kills it without warning and starts it anew on the same ports and directory.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        self.child = spawn(&self.binary, self.directory.path(), &self.options)?;
        self.ready().await;
        Ok(())
    }

    /// Writes a file the way editors do: beside it, then over it.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let beside = self.directory.path().join(format!(".{name}.new"));
        std::fs::write(&beside, text)?;
        std::fs::rename(beside, self.directory.path().join(name))?;
        Ok(())
    }

    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.directory.path().join(name))?)
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The bootstrap for an Envoy of a Gateway, as the binary prints it.
    pub async fn bootstrap(&self, gateway: &str, options: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.binary)
            .args(["bootstrap", "--gateway", gateway, "--xds", &format!("127.0.0.1:{}", self.xds)])
            .args(["--admin", "127.0.0.1:{admin}"])
            .args(options)
            .output()
            .await?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A page of the admin port as JSON.
    pub async fn page(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(HttpClient::new(self.admin).get(path).await?.json())
    }
}

fn spawn(binary: &Path, directory: &Path, options: &[String]) -> anyhow::Result<Child> {
    Command::new(binary)
        .arg("serve")
        .arg(directory)
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("the control plane cannot be started")
}
