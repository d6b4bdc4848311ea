//! The control plane as a child process, over a directory of its own or over a cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::{HttpClient, eventually, free_port};

/// `chancery serve`, ready to answer Envoys.
#[derive(Debug)]
pub struct Chancery {
    child: Child,
    binary: PathBuf,
    arguments: Vec<OsString>,
    kubeconfig: Option<PathBuf>,
    pub xds: u16,
    pub admin: u16,
    pub ratelimit: u16,
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
        let arguments = vec!["serve".into(), directory.path().into()];
        Self::launch(binary, arguments, options, None, directory).await
    }

    /// Starts the binary over a cluster, with further options, and waits until it is ready.
    pub async fn in_cluster(binary: &str, kubeconfig: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let arguments = vec!["serve".into(), "--kubernetes".into()];
        Self::launch(binary, arguments, options, Some(kubeconfig.to_path_buf()), tempfile::tempdir()?).await
    }

    async fn launch(
        binary: &str,
        mut arguments: Vec<OsString>,
        options: &[&str],
        kubeconfig: Option<PathBuf>,
        directory: tempfile::TempDir,
    ) -> anyhow::Result<Self> {
        let (xds, admin, ratelimit) = (free_port(), free_port(), free_port());
        arguments.extend(options.iter().map(OsString::from));
        arguments.extend(["--xds".into(), format!("127.0.0.1:{xds}").into()]);
        arguments.extend(["--admin".into(), format!("127.0.0.1:{admin}").into()]);
        if !options.contains(&"--ratelimit-service") {
            arguments.extend(["--ratelimit".into(), format!("127.0.0.1:{ratelimit}").into()]);
        }
        let binary = PathBuf::from(binary);
        let child = spawn(&binary, &arguments, kubeconfig.as_deref())?;
        let control = Self { child, binary, arguments, kubeconfig, xds, admin, ratelimit, directory };
        control.ready().await;
        Ok(control)
    }

    async fn ready(&self) {
        let ask =
            || async { HttpClient::new(self.admin).get("/readyz").await.ok().filter(|reply| reply.status == 200) };
        eventually("the control plane is ready", Duration::from_secs(60), ask).await;
    }

    /// Kills it without warning and starts it anew on the same ports and directory.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.child = spawn(&self.binary, &self.arguments, self.kubeconfig.as_deref())?;
        self.ready().await;
        Ok(())
    }

    /// None when it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it without warning.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
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

fn spawn(binary: &Path, arguments: &[OsString], kubeconfig: Option<&Path>) -> anyhow::Result<Child> {
    let mut command = Command::new(binary);
    command.args(arguments);
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    command
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("the control plane cannot be started")
}
