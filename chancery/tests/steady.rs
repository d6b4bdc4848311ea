//! Under constant traffic: edits of every sort and restarts of the control plane cost no request.
//!
//! `STEADY_EDITS` says how many edits there are; what they took until they were served is printed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use testkit::{Authority, Chancery, ClientTls, Echo, Envoy, HttpClient, eventually, free_port};

/// What is edited.
#[derive(Clone)]
struct Edited {
    http: u16,
    https: u16,
    /// A listener that comes and goes.
    extra: Option<u16>,
    certificate: (String, String),
    version: String,
    service: &'static str,
    upstreams: Vec<(&'static str, u16)>,
}

impl Edited {
    fn manifests(&self) -> String {
        let Self { http, https, version, service, .. } = self;
        let extra = self.extra.map(|port| format!("  - {{name: extra, protocol: HTTP, port: {port}}}\n"));
        let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let mut text = format!(
            r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners:
  - {{name: http, protocol: HTTP, port: {http}}}
  - {{name: https, protocol: HTTPS, port: {https}, tls: {{certificateRefs: [{{name: cert}}]}}}}
{}---
apiVersion: v1
kind: Secret
metadata: {{name: cert, namespace: default}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [app.example.com]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{set: [{{name: x-version, value: '{version}'}}]}}
    backendRefs: [{{name: {service}, port: 80}}]
",
            extra.unwrap_or_default(),
            indented(&self.certificate.0),
            indented(&self.certificate.1),
        );
        for (name, port) in &self.upstreams {
            text.push_str(&format!(
                r"---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: default
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
            ));
        }
        text
    }
}

/// Requests one after the other, until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Traffic {
    fn start(client: HttpClient) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, answering) = (stop.clone(), answered.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                match client.get("/").await {
                    Ok(reply) if reply.status == 200 => drop(answering.fetch_add(1, Ordering::Relaxed)),
                    Ok(reply) => failures.push(format!("{}: {}", reply.status, reply.text())),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            failures
        });
        Self { stop, answered, task }
    }

    async fn more(&self, requests: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + requests;
        let ask = || async { (self.answered.load(Ordering::Relaxed) >= goal).then_some(()) };
        eventually("requests are answered", Duration::from_secs(20), ask).await;
    }

    /// Returns how many were answered.
    async fn assert_none_failed(self) -> u64 {
        self.more(20).await;
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        assert!(failures.is_empty(), "{} requests failed: {:?}", failures.len(), failures.first());
        self.answered.load(Ordering::Relaxed)
    }
}

fn app(port: u16) -> HttpClient {
    HttpClient::new(port).host("app.example.com")
}

async fn becomes(port: u16, wanted: &str, name: &str) {
    eventually("the edit is served", Duration::from_secs(20), || async {
        let reply = app(port).get("/").await.ok()?;
        (reply.header("x-version") == Some(wanted) && reply.json()["name"] == name).then_some(())
    })
    .await;
}

async fn edits(protocol: &str) {
    let count: u16 = std::env::var("STEADY_EDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let authority = Authority::new("clients trust it").unwrap();
    let leaf = || {
        let leaf = authority.issue(&["app.example.com"]).unwrap();
        (leaf.certificate, leaf.key)
    };
    let mut now = Edited {
        http: free_port(),
        https: free_port(),
        extra: None,
        certificate: leaf(),
        version: "0".to_owned(),
        service: "one",
        upstreams: vec![("one", one.port), ("two", two.port)],
    };
    let spare = free_port();
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &now.manifests())]).await.unwrap();
    let envoy =
        Envoy::start(&control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap()).await.unwrap();
    becomes(now.http, "0", "one").await;
    becomes_over_tls(&now, &authority, "0").await;
    let plain = Traffic::start(app(now.http));
    let encrypted = Traffic::start(app(now.https).tls(ClientTls::new(&authority, "app.example.com")));
    let mut took = Vec::new();
    for edit in 1..=count {
        match edit % 5 {
            // A route that goes elsewhere, and the cluster that it leaves goes away, and comes back.
            0 => {
                now.service = if now.service == "one" { "two" } else { "one" };
                now.upstreams.retain(|(name, _)| *name == now.service);
            }
            1 => now.upstreams = vec![("one", one.port), ("two", two.port)],
            // Endpoints move: each service is served by the other's server.
            2 => {
                for (_, port) in &mut now.upstreams {
                    *port = if *port == one.port { two.port } else { one.port };
                }
            }
            3 => now.extra = if now.extra.is_some() { None } else { Some(spare) },
            _ => now.certificate = leaf(),
        }
        now.version = edit.to_string();
        let begin = Instant::now();
        control.write("all.yaml", &now.manifests()).unwrap();
        let server = now.upstreams.iter().find(|(name, _)| *name == now.service).map(|(_, port)| *port);
        becomes(now.http, &now.version, if server == Some(one.port) { "one" } else { "two" }).await;
        took.push(begin.elapsed());
        plain.more(2).await;
        encrypted.more(1).await;
    }
    let answered = plain.assert_none_failed().await + encrypted.assert_none_failed().await;
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    eprintln!(
        "{protocol}: {count} edits served after {:?} (median), {:?} (p99); {answered} requests, none failed",
        at(50),
        at(99)
    );
    for rejected in ["listener_manager.lds", "cluster_manager.cds"] {
        assert_eq!(envoy.stat(&format!("{rejected}.update_rejected")).await, 0);
    }
}

async fn becomes_over_tls(now: &Edited, authority: &Authority, wanted: &str) {
    eventually("the edit is served over TLS", Duration::from_secs(20), || async {
        let client = app(now.https).tls(ClientTls::new(authority, "app.example.com"));
        let reply = client.get("/").await.ok()?;
        (reply.header("x-version") == Some(wanted)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_cost_no_request_over_delta() {
    edits("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_cost_no_request_over_sotw() {
    edits("sotw").await;
}

/// With and without a state directory, the control plane is killed, and comes back.
async fn restart(protocol: &str, keeps_state: bool) {
    let begin = SystemTime::now();
    let one = Echo::start("one").await.unwrap();
    let authority = Authority::new("clients trust it").unwrap();
    let leaf = authority.issue(&["app.example.com"]).unwrap();
    let mut now = Edited {
        http: free_port(),
        https: free_port(),
        extra: None,
        certificate: (leaf.certificate, leaf.key),
        version: "0".to_owned(),
        service: "one",
        upstreams: vec![("one", one.port)],
    };
    let port = now.http;
    let text = now.manifests();
    let state = tempfile::tempdir().unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let options = if keeps_state { &options[..] } else { &[] };
    let files = [("all.yaml", text.as_str())];
    let mut control = Chancery::start_with(env!("CARGO_BIN_EXE_chancery"), &files, options).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    let envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(port, "0", "one").await;
    becomes_over_tls(&now, &authority, "0").await;
    let plain = Traffic::start(app(port));
    let encrypted = Traffic::start(app(now.https).tls(ClientTls::new(&authority, "app.example.com")));
    let mut edited = begin;
    for round in 1..=2 {
        if keeps_state {
            // The one with the last edit: an older one would be served until the directory is read.
            let saved = || async {
                let files = std::fs::read_dir(state.path()).ok()?.filter_map(Result::ok);
                let times = files.filter_map(|file| file.metadata().ok()?.modified().ok());
                times.max().is_some_and(|newest| newest > edited).then_some(())
            };
            eventually("the snapshot is saved", Duration::from_secs(20), saved).await;
        }
        control.restart().await.unwrap();
        let admin = control.admin;
        let acknowledged = || async {
            let fleet = HttpClient::new(admin).get("/fleet").await.ok()?.json();
            let types = fleet["clients"][0]["types"].as_object()?.clone();
            let all = ["clusters", "endpoints", "secrets", "listeners", "routes", "scopes"];
            all.iter().all(|kind| types.get(*kind).is_some_and(|t| t["acknowledged"].is_string())).then_some(())
        };
        if protocol == "delta" {
            eventually("Envoy is back", Duration::from_secs(60), acknowledged).await;
            assert_only_empty_answers(admin).await;
        } else {
            // What is in step is not even answered in SotW. That it is back is seen by what it has asked for.
            let back = || async {
                let status = HttpClient::new(admin).get("/fleet").await.ok()?.json();
                status["clients"][0]["node"].as_str().map(|_| ())
            };
            eventually("Envoy is back", Duration::from_secs(60), back).await;
            for (kind, bytes) in pushed(admin).await {
                assert_eq!(bytes, 0, "{kind}: nothing is sent");
            }
        }
        // And it follows edits as before.
        now.version = round.to_string();
        edited = SystemTime::now();
        control.write("all.yaml", &now.manifests()).unwrap();
        becomes(port, &now.version, "one").await;
        if protocol == "sotw" {
            // By now it has been answered all that it asked: the edit was of routes, and so is all that was sent.
            let kinds: Vec<String> =
                pushed(admin).await.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(kind, _)| kind).collect();
            assert_eq!(kinds, ["routes"]);
        }
    }
    plain.assert_none_failed().await;
    encrypted.assert_none_failed().await;
    for rejected in ["listener_manager.lds", "cluster_manager.cds"] {
        assert_eq!(envoy.stat(&format!("{rejected}.update_rejected")).await, 0);
    }
}

async fn pushed(admin: u16) -> Vec<(String, u64)> {
    let metrics = HttpClient::new(admin).get("/metrics").await.unwrap().text();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("xds_push_bytes_total{type=\""));
    let read = |line: &str| {
        let (kind, rest) = line.split_once('"').unwrap();
        (kind.to_owned(), rest.rsplit(' ').next().unwrap().parse().unwrap())
    };
    lines.map(read).collect()
}

async fn assert_only_empty_answers(admin: u16) {
    for (kind, bytes) in pushed(admin).await {
        assert!(bytes < 250, "only empty answers: {kind} {bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_no_request_and_sends_nothing_again_over_delta() {
    restart("delta", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_no_request_and_sends_nothing_again_over_sotw() {
    restart("sotw", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_saved_state_costs_no_request() {
    for protocol in ["delta", "sotw"] {
        restart(protocol, true).await;
    }
}
