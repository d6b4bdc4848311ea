//! A real Kubernetes API server as a child process: `testkit/kube-api`, which `make kube-api` builds once.
//!
//! It has no controllers and no nodes: nothing is garbage-collected, a deleted namespace stays, EndpointSlices are written by hand.
//! So each test works in namespaces of its own and waits for no deletion of a namespace.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::eventually;

/// A start is work, not waiting: on a crowded machine it takes half a minute.
const START: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub struct KubeApi {
    binary: PathBuf,
    child: Child,
    flags: Vec<String>,
    directory: tempfile::TempDir,
}

impl KubeApi {
    /// A server with further flags for kube-apiserver; none, and a line that says so, where `make kube-api` was not run.
    ///
    /// # Errors
    /// When the binary is there and the server does not start.
    pub async fn start(flags: &[&str]) -> anyhow::Result<Option<Self>> {
        let binary = match binary() {
            Ok(binary) => binary,
            Err(missing) => {
                // Not `eprintln!`: the harness would hide it from whoever runs the tests.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {missing:#}");
                return Ok(None);
            }
        };
        let directory = tempfile::tempdir()?;
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let child = spawn(&binary, directory.path(), &flags).await?;
        Ok(Some(Self { binary, child, flags, directory }))
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// A kubeconfig of the user `restricted`, who may do what a test grants and nothing more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restricted(&self) -> anyhow::Result<PathBuf> {
        let text = std::fs::read_to_string(self.kubeconfig())?;
        let (before, _) =
            text.split_once("  user:\n    client-certificate-data").context("a kubeconfig of another form")?;
        let path = self.directory.path().join("restricted");
        std::fs::write(&path, format!("{before}  user: {{token: restricted}}\n"))?;
        Ok(path)
    }

    /// Ends the server; its data stay for [`Self::resume`].
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        // The end of its standard input ends it, with what it has written in order.
        drop(self.child.stdin.take());
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .context("the API server does not end")??;
        Ok(())
    }

    /// Ends the server at once; its data stay for [`Self::resume`]. One that is asked to end waits a minute for whoever
    /// watches.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts the server again, on the port and with the data of before.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.binary, self.directory.path(), &self.flags).await?;
        Ok(())
    }

    /// What `kubectl ARGS` prints.
    ///
    /// # Errors
    /// When kubectl is missing or refuses; its words then.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with(args, "").await
    }

    /// The same with a text on its standard input.
    ///
    /// # Errors
    /// As for [`Self::kubectl`].
    pub async fn kubectl_with(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("kubectl cannot be started")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let written = async {
            // kubectl may refuse its arguments and be gone before it reads.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(written, child.wait_with_output());
        let output = output?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {words}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Applies objects as a user would.
    ///
    /// # Errors
    /// When one of them is refused.
    pub async fn apply(&self, objects: &str) -> anyhow::Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], objects).await
    }

    /// Applies CustomResourceDefinitions and waits until their objects are served, which is later than `Established`.
    ///
    /// # Errors
    /// When one of them is refused or is not served.
    pub async fn apply_crds(&self, definitions: &str) -> anyhow::Result<()> {
        self.kubectl_with(&["apply", "--server-side", "-f", "-"], definitions).await?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=120s", "crd", "--all"]).await?;
        let template = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";
        let names = self.kubectl(&["get", "crd", "-o", template]).await?;
        for name in names.lines() {
            let served = || async { self.kubectl(&["get", name, "-A"]).await.ok() };
            eventually(&format!("{name} is served"), START, served).await;
        }
        Ok(())
    }
}

/// The binary of `make kube-api`, or the one that `KUBE_API_BIN` names.
fn binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("KUBE_API_BIN") {
        return Ok(PathBuf::from(named));
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = here.join("../.cache/kube-api");
    let Ok(built_from) = std::fs::read(here.join("../.cache/kube-api.sum")) else {
        bail!("no API server at {}: run `make kube-api`, or set KUBE_API_BIN", built.display());
    };
    ensure!(
        built_from == std::fs::read(here.join("kube-api/go.sum"))?,
        "{} was built from other versions: run `make kube-api`",
        built.display()
    );
    Ok(built)
}

async fn spawn(binary: &Path, directory: &Path, flags: &[String]) -> anyhow::Result<Child> {
    let log = directory.join("log");
    let mut child = Command::new(binary)
        .args(["--attached", "--dir"])
        .arg(directory)
        .arg("--")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(std::fs::File::create(&log)?))
        .kill_on_drop(true)
        .spawn()
        .context("the API server cannot be started")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    match tokio::time::timeout(START, lines.next_line()).await {
        Ok(Ok(Some(line))) if line.starts_with("ready ") => Ok(child),
        _ => bail!("the API server does not start: {}", std::fs::read_to_string(&log).unwrap_or_default()),
    }
}
