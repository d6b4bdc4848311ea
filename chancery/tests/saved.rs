//! A state directory after a restart: it takes no Envoy back, and is there when the source is not.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::{Echo, Envoy, HttpClient, eventually, free_port};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

/// A control plane whose source is its standard input: it has been read when the test says so.
struct Control {
    child: Child,
    source: Option<ChildStdin>,
    admin: u16,
}

impl Control {
    fn start(xds: u16, state: &Path) -> Self {
        let admin = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(["serve", "-", "--xds", &format!("127.0.0.1:{xds}"), "--admin", &format!("127.0.0.1:{admin}")])
            .args(["--ratelimit", &format!("127.0.0.1:{}", free_port()), "--state-dir"])
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let source = child.stdin.take();
        Self { child, source, admin }
    }

    async fn read(&mut self, manifests: &str) {
        let mut source = self.source.take().unwrap();
        source.write_all(manifests.as_bytes()).await.unwrap();
    }

    /// An Envoy has asked, and was told to wait.
    async fn has_refused(&self) {
        eventually("an Envoy is told to wait", Duration::from_secs(60), || async {
            let metrics = HttpClient::new(self.admin).get("/metrics").await.ok()?.text();
            metrics.contains("xds_streams_ended_total{code=\"14\"}").then_some(())
        })
        .await;
    }

    async fn ready(&self) -> u16 {
        HttpClient::new(self.admin).get("/readyz").await.map_or(0, |reply| reply.status.as_u16())
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "snapshot") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn snapshots(state: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "snapshot"));
    files.map(|path| std::fs::read(path).unwrap_or_default()).collect()
}

async fn becomes(port: u16, name: &str) {
    eventually(&format!("{name} is served"), Duration::from_secs(60), || async {
        HttpClient::new(port).get("/").await.ok().filter(|reply| reply.json()["name"] == name).map(drop)
    })
    .await;
}

async fn saved(protocol: &str) {
    let servers = [Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap()];
    let (port, xds) = (free_port(), free_port());
    let manifests = |upstream: usize| {
        let text = include_str!("bootstraps.yaml").replace("PORT", &port.to_string());
        text.replace("UPSTREAM", &servers[upstream].port.to_string())
    };
    let (state, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bootstrap = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["bootstrap", "--gateway", "default/web", "--protocol", protocol])
        .args(["--xds", &format!("127.0.0.1:{xds}"), "--admin", "127.0.0.1:{admin}"])
        .output()
        .await
        .unwrap();
    let bootstrap = String::from_utf8(bootstrap.stdout).unwrap();

    // Two runs, so that there is a state of the first and an Envoy with what the second said.
    let mut control = Control::start(xds, state.path());
    control.read(&manifests(0)).await;
    let envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(port, "one").await;
    let kept = || async { (!snapshots(state.path()).is_empty()).then_some(()) };
    eventually("the first state is saved", Duration::from_secs(20), kept).await;
    control.child.kill().await.unwrap();
    copy(state.path(), old.path());
    let mut control = Control::start(xds, state.path());
    control.read(&manifests(1)).await;
    becomes(port, "two").await;
    control.child.kill().await.unwrap();

    // What is saved is older than what Envoy has, and the source is slow: Envoy is told to wait, not taken back.
    copy(old.path(), state.path());
    let (stop, back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (stopping, seen) = (stop.clone(), back.clone());
    let traffic = tokio::spawn(async move {
        while !stopping.load(Ordering::Relaxed) {
            let reply = HttpClient::new(port).get("/").await.unwrap();
            assert_eq!(reply.status, 200);
            seen.fetch_or(reply.json()["name"] != "two", Ordering::Relaxed);
        }
    });
    let mut control = Control::start(xds, state.path());
    control.has_refused().await;
    assert_eq!(control.ready().await, 503);
    control.read(&manifests(1)).await;
    let again = || async {
        let fleet = HttpClient::new(control.admin).get("/fleet").await.ok()?.json();
        fleet["clients"][0]["types"]["endpoints"]["acknowledged"].as_str().map(|_| ())
    };
    let changed = || async { (snapshots(state.path()) != snapshots(old.path())).then_some(()) };
    if protocol == "delta" {
        eventually("Envoy is back", Duration::from_secs(60), again).await;
    }
    eventually("the newer state is saved", Duration::from_secs(20), changed).await;
    stop.store(true, Ordering::Relaxed);
    traffic.await.unwrap();
    assert!(!back.load(Ordering::Relaxed), "the older state was never served");
    control.child.kill().await.unwrap();
    drop(envoy);

    // The source cannot be had: an Envoy that comes new is served what is saved, and what is newer when it comes.
    let mut control = Control::start(xds, state.path());
    let _envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(port, "two").await;
    assert_eq!(control.ready().await, 200);
    control.read(&manifests(0)).await;
    becomes(port, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_takes_no_envoy_back_and_stands_in_for_a_source_that_is_away() {
    tokio::join!(saved("delta"), saved("sotw"));
}
