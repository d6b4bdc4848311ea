//! Under constant traffic: edits and restarts of the control plane cost no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

fn manifests(port: u16, service: &str, version: &str, upstreams: &[(&str, u16)]) -> String {
    let mut text = format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners:
  - {{name: http, protocol: HTTP, port: {port}}}
---
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
"
    );
    for (name, port) in upstreams {
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

/// Requests one after the other, until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Traffic {
    fn start(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, answering) = (stop.clone(), answered.clone());
        let task = tokio::spawn(async move {
            let client = HttpClient::new(port).host("app.example.com");
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

    async fn assert_none_failed(self) {
        self.more(20).await;
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        assert!(failures.is_empty(), "{} requests failed: {:?}", failures.len(), failures.first());
    }
}

async fn version(port: u16) -> Option<(String, String)> {
    let reply = HttpClient::new(port).host("app.example.com").get("/").await.ok()?;
    Some((reply.header("x-version")?.to_owned(), reply.json()["name"].as_str()?.to_owned()))
}

async fn becomes(port: u16, wanted: &str, name: &str) {
    let wanted = (wanted.to_owned(), name.to_owned());
    eventually("the edit is served", Duration::from_secs(20), || async {
        version(port).await.filter(|answer| *answer == wanted)
    })
    .await;
}

async fn edits(protocol: &str) {
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let port = free_port();
    let first = manifests(port, "one", "0", &[("one", one.port)]);
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &first)]).await.unwrap();
    let envoy =
        Envoy::start(&control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap()).await.unwrap();
    becomes(port, "0", "one").await;
    let traffic = Traffic::start(port);
    // Each edit moves the route to a cluster that is new, and takes away the one that it leaves.
    for edit in 1..=20 {
        let (name, upstream) = if edit % 2 == 0 { ("one", one.port) } else { ("two", two.port) };
        let edit = edit.to_string();
        control.write("all.yaml", &manifests(port, name, &edit, &[(name, upstream)])).unwrap();
        becomes(port, &edit, name).await;
        traffic.more(5).await;
    }
    traffic.assert_none_failed().await;
    for rejected in ["listener_manager.lds", "cluster_manager.cds"] {
        assert_eq!(envoy.stat(&format!("{rejected}.update_rejected")).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_cost_no_request_over_delta() {
    edits("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_cost_no_request_over_sotw() {
    edits("sotw").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_no_request_and_sends_nothing_again() {
    let one = Echo::start("one").await.unwrap();
    let port = free_port();
    let text = manifests(port, "one", "0", &[("one", one.port)]);
    let mut control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &text)]).await.unwrap();
    let _envoy = Envoy::start(&control.bootstrap("default/web", &[]).await.unwrap()).await.unwrap();
    becomes(port, "0", "one").await;
    let traffic = Traffic::start(port);
    control.restart().await.unwrap();
    let admin = control.admin;
    let acknowledged = || async {
        let fleet = HttpClient::new(admin).get("/fleet").await.ok()?.json();
        let types = fleet["clients"][0]["types"].as_object()?.clone();
        let all = ["clusters", "endpoints", "listeners", "routes", "scopes"];
        all.iter().all(|kind| types.get(*kind).is_some_and(|t| t["acknowledged"].is_string())).then_some(())
    };
    eventually("Envoy is back", Duration::from_secs(60), acknowledged).await;
    traffic.assert_none_failed().await;
    let metrics = HttpClient::new(admin).get("/metrics").await.unwrap().text();
    let sent = metrics.lines().filter(|line| line.starts_with("xds_push_bytes_total"));
    for line in sent {
        let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes < 250, "only empty answers: {line}");
    }
    // And it follows edits as before.
    control.write("all.yaml", &manifests(port, "one", "1", &[("one", one.port)])).unwrap();
    becomes(port, "1", "one").await;
}
