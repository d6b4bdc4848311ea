//! What must not reach an Envoy, and what an Envoy will not have, holds up nothing else, and is named wherever one looks.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: chancery
  listeners: [{name: http, protocol: HTTP, port: PORT}]
";

/// Routes, each with a hostname and a Service of its own; one server stands behind all.
fn many(port: u16, upstream: u16, count: usize) -> String {
    let mut text = GATEWAY.replace("PORT", &port.to_string());
    for n in 0..count {
        write!(
            text,
            r"---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{n}, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [h{n}.example.com]
  rules: [{{backendRefs: [{{name: s{n}, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: s{n}, namespace: default}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{n}-1, namespace: default, labels: {{kubernetes.io/service-name: s{n}}}}}
addressType: IPv4
ports: [{{name: http, port: {upstream}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
        )
        .unwrap();
    }
    text
}

fn patch(kind: &str, name: &str, operation: &str) -> String {
    format!(
        r"apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {{name: odd, namespace: default}}
spec:
  targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: web}}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.{kind}
    name: {name}
    operation: {operation}
"
    )
}

async fn becomes(port: u16, host: &str, status: u16) {
    eventually(&format!("{host} is answered {status}"), Duration::from_secs(30), || async {
        let reply = HttpClient::new(port).host(host).get("/").await.ok()?;
        (reply.status == status).then_some(())
    })
    .await;
}

async fn stays(port: u16, host: &str, status: u16) {
    for _ in 0..20 {
        let reply = HttpClient::new(port).host(host).get("/").await.unwrap();
        assert_eq!(reply.status, status, "{host}: {}", reply.text());
    }
}

async fn said(control: &Chancery, command: &str) -> String {
    let admin = format!("127.0.0.1:{}", control.admin);
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args([command, "--admin", &admin])
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn metric(control: &Chancery, line: &str) -> bool {
    HttpClient::new(control.admin).get("/metrics").await.unwrap().text().lines().any(|found| found == line)
}

fn programmed(statuses: &Value) -> Value {
    let conditions = &statuses["Gateway default/web"]["conditions"];
    let found = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == "Programmed");
    found.cloned().unwrap_or_default()
}

const BAD: &str = "service/default/s500/80";

/// Without a source of endpoints, which no field rule forbids, Envoy refuses the cluster.
fn bad_cluster() -> String {
    patch("cluster.v3.Cluster", BAD, "{op: remove, path: /eds_cluster_config}")
}

async fn one_bad_cluster(protocol: &str) {
    let server = Echo::start("one").await.unwrap();
    let port = free_port();
    let all = many(port, server.port, 1000);
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &all)]).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    let envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(port, "h500.example.com", 200).await;

    // It comes with other changes, which are in force at once; it keeps what it had.
    let moved = all.replace("hostnames: [h7.example.com]", "hostnames: [moved.example.com]");
    control.write("all.yaml", &moved).unwrap();
    control.write("patch.yaml", &bad_cluster()).unwrap();
    becomes(port, "moved.example.com", 200).await;
    let rejected = || async { said(&control, "fleet").await.contains(BAD).then_some(()) };
    eventually("the fleet names the cluster", Duration::from_secs(20), rejected).await;
    stays(port, "h500.example.com", 200).await;

    let fleet = said(&control, "fleet").await;
    assert!(fleet.contains(&format!("rejected: default/web clusters {BAD}: ")), "{fleet}");
    assert!(
        metric(&control, &format!("xds_set_aside{{gateway=\"default/web\",type=\"clusters\",name=\"{BAD}\"}} 1")).await
    );
    let condition = programmed(&control.page("/status").await.unwrap());
    assert_eq!(condition["status"], "False", "{condition}");
    assert!(condition["message"].as_str().unwrap().contains(BAD), "{condition}");

    // And others are followed as before.
    control.write("all.yaml", &moved.replace("moved.example.com", "again.example.com")).unwrap();
    becomes(port, "again.example.com", 200).await;
    becomes(port, "moved.example.com", 404).await;

    // An Envoy that never had it does without it, and has all the rest.
    let second = free_port();
    let bootstrap = bootstrap.replace("id: envoy", "id: second");
    control.write("all.yaml", &all.replace(&format!("port: {port}"), &format!("port: {second}"))).unwrap();
    becomes(second, "h7.example.com", 200).await;
    drop(envoy);
    let _envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(second, "h999.example.com", 200).await;

    control.remove("patch.yaml").unwrap();
    becomes(second, "h500.example.com", 200).await;
    let settled = || async { (!said(&control, "fleet").await.contains("rejected")).then_some(()) };
    eventually("nothing is rejected any more", Duration::from_secs(20), settled).await;
    assert_eq!(programmed(&control.page("/status").await.unwrap())["status"], "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_cluster_among_a_thousand_blocks_nothing_over_delta() {
    one_bad_cluster("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_cluster_among_a_thousand_blocks_nothing_over_sotw() {
    one_bad_cluster("sotw").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_cluster_from_the_start_blocks_nothing() {
    for protocol in ["delta", "sotw"] {
        let server = Echo::start("one").await.unwrap();
        let port = free_port();
        let (all, bad) = (many(port, server.port, 1000), bad_cluster());
        let files = [("all.yaml", all.as_str()), ("patch.yaml", bad.as_str())];
        let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &files).await.unwrap();
        let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
        let _envoy = Envoy::start(&bootstrap).await.unwrap();
        for host in ["h0.example.com", "h999.example.com"] {
            becomes(port, host, 200).await;
        }
        becomes(port, "h500.example.com", 500).await;
        control.remove("patch.yaml").unwrap();
        becomes(port, "h500.example.com", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_names_a_cluster_that_is_not_there_is_held_back() {
    let server = Echo::start("one").await.unwrap();
    let port = free_port();
    let all = many(port, server.port, 1);
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &all)]).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &[]).await.unwrap();
    let _envoy = Envoy::start(&bootstrap).await.unwrap();
    becomes(port, "h0.example.com", 200).await;
    let snapshot = control.page("/snapshot?gateway=default/web").await.unwrap();
    let names = snapshot["default/web"].as_array().into_iter().flatten().filter_map(|found| found["name"].as_str());
    let table = names.into_iter().find(|name| name.contains("/hosts-")).unwrap().to_owned();

    let operation = "{op: replace, path: '/virtual_hosts/0/routes/0/route/cluster', value: nowhere}";
    control.write("patch.yaml", &patch("route.v3.RouteConfiguration", &table, operation)).unwrap();
    let wanted = format!("held back: default/web routes {table}: lacks cluster nowhere");
    let held = || async { said(&control, "fleet").await.contains(&wanted).then_some(()) };
    eventually("the fleet says what is held back", Duration::from_secs(20), held).await;
    assert!(metric(&control, "xds_held_back{type=\"routes\"} 1").await);
    stays(port, "h0.example.com", 200).await;

    control.remove("patch.yaml").unwrap();
    let settled = || async { (!said(&control, "fleet").await.contains("held back")).then_some(()) };
    eventually("nothing is held back any more", Duration::from_secs(20), settled).await;
    stays(port, "h0.example.com", 200).await;
}
