//! Backends of other sorts than Services: those that requests name, and those that take over.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;
use testkit::{Chancery, Dns, Echo, Envoy, HttpClient, eventually, free_port};

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: chancery
  listeners: [{name: http, protocol: HTTP, port: PORT}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: default}
spec:
  parentRefs: [{name: web}]
  rules:
";

const ANY: &str = "  - matches: [{path: {type: PathPrefix, value: /named}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: other.example.org}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: any}]
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: any}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: any, namespace: default}
spec: {type: DynamicResolver}
";

/// Here the server is on the machine of the proxy, where no client is to come.
const OPENED: &str = "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: open, namespace: default}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: web}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.listener.v3.Listener
    name: default/web/http
    operation: {op: remove, jsonPath: ..dns_cache_config, path: /resolved_address_filter}
  - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: backend/default/any
    operation: {op: remove, jsonPath: ..dns_cache_config, path: /resolved_address_filter}
";

async fn answered(port: u16, host: &str, path: &str, status: u16) -> Value {
    eventually(&format!("{host}{path} is answered {status}"), Duration::from_secs(20), || async {
        let reply = HttpClient::new(port).host(host).get(path).await.ok()?;
        (reply.status == status).then(|| if status == 200 { reply.json() } else { Value::Null })
    })
    .await
}

struct Dynamic {
    server: Echo,
    dns: Dns,
    port: u16,
    _control: Chancery,
    envoy: Envoy,
}

impl Dynamic {
    async fn start(protocol: &str, more: &str) -> Self {
        let server = Echo::start("named").await.unwrap();
        let dns = Dns::start().await.unwrap();
        let port = free_port();
        let manifests = [GATEWAY, ANY, "---\n", more].concat().replace("PORT", &port.to_string());
        let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &manifests)]).await.unwrap();
        let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
        let bootstrap = bootstrap.replace("static_resources:", &(dns.resolver() + "static_resources:"));
        let envoy = Envoy::start(&bootstrap).await.unwrap();
        Self { server, dns, port, _control: control, envoy }
    }

    fn host(&self, name: &str) -> String {
        format!("{name}:{}", self.server.port)
    }
}

/// Names and addresses that lead to the proxy's own machine.
const OWN: [&str; 8] =
    ["api.example.org", "127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0"];

async fn not_the_machine_of_the_proxy(protocol: &str) {
    let dynamic = Dynamic::start(protocol, "").await;
    for host in OWN.map(|name| dynamic.host(name)) {
        answered(dynamic.port, &host, "/", 503).await;
        let reply = HttpClient::new(dynamic.port).host(&host).get("/").await.unwrap();
        assert_eq!(reply.text(), "DNS resolution failure", "{host}");
    }
    assert_eq!(dynamic.server.served(), 0, "{}", dynamic.envoy.log());
}

async fn named_by_the_request(protocol: &str) {
    let dynamic = Dynamic::start(protocol, OPENED).await;
    let host = dynamic.host("api.example.org");
    let seen = answered(dynamic.port, &host, "/", 200).await;
    assert_eq!(seen["host"], host, "{seen}");
    // Of the name that the route puts in its place, the port is that of HTTP, where nobody is at home here.
    answered(dynamic.port, "nobody.example.org", "/named", 503).await;
    assert!(dynamic.dns.was_asked_for("other.example.org") && !dynamic.dns.was_asked_for("nobody.example.org"));
}

#[tokio::test]
async fn not_the_machine_of_the_proxy_over_delta() {
    not_the_machine_of_the_proxy("delta").await;
}

#[tokio::test]
async fn not_the_machine_of_the_proxy_over_sotw() {
    not_the_machine_of_the_proxy("sotw").await;
}

#[tokio::test]
async fn named_by_the_request_over_delta() {
    named_by_the_request("delta").await;
}

#[tokio::test]
async fn named_by_the_request_over_sotw() {
    named_by_the_request("sotw").await;
}

fn backend(name: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: {name}, namespace: default}}
spec:
  endpoints: [{{ip: {{address: 127.0.0.1, port: {port}}}}}]
{more}"
    )
}

const TWO: &str = "  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: first}
    - {group: gateway.envoyproxy.io, kind: Backend, name: rescue}
    retry: {codes: [503], attempts: 2}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: health, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]
  healthCheck:
    active: {type: HTTP, interval: 100ms, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1, http: {path: /}}
";

const TWO_FOR_CONNECTIONS: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: chancery
  listeners: [{name: tcp, protocol: TCP, port: PORT}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: all, namespace: default}
spec:
  parentRefs: [{name: web}]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: first}
    - {group: gateway.envoyproxy.io, kind: Backend, name: rescue}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: health, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: all}]
  healthCheck:
    active: {type: TCP, interval: 100ms, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1, tcp: {}}
";

async fn by(port: u16, name: &str) -> Value {
    eventually(&format!("{name} answers"), Duration::from_secs(20), || async {
        let reply = HttpClient::new(port).header("authorization", "Bearer mine").get("/").await.ok()?;
        (reply.status == 200 && reply.json()["name"] == name).then(|| reply.json())
    })
    .await
}

async fn taking_over(protocol: &str, manifests: &str) {
    let first = Echo::start("first").await.unwrap();
    let rescue = Echo::start("rescue").await.unwrap();
    let port = free_port();
    let manifests = manifests.replace("PORT", &port.to_string());
    let files = [
        ("all.yaml", manifests.as_str()),
        ("first.yaml", &backend("first", first.port, "")),
        ("rescue.yaml", &backend("rescue", rescue.port, "  fallback: true\n")),
    ];
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &files).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    let _envoy = Envoy::start(&bootstrap).await.unwrap();

    let seen = by(port, "first").await;
    assert_eq!(seen["headers"]["authorization"][0], "Bearer mine", "what a client sends is left alone: {seen}");
    for _ in 0..20 {
        assert_eq!(HttpClient::new(port).get("/").await.unwrap().json()["name"], "first");
    }
    control.write("first.yaml", &backend("first", free_port(), "")).unwrap();
    by(port, "rescue").await;
    control.write("first.yaml", &backend("first", first.port, "")).unwrap();
    by(port, "first").await;
}

#[tokio::test]
async fn taking_over_over_delta() {
    taking_over("delta", &format!("{GATEWAY}{TWO}")).await;
}

#[tokio::test]
async fn taking_over_over_sotw() {
    taking_over("sotw", &format!("{GATEWAY}{TWO}")).await;
}

#[tokio::test]
async fn taking_over_for_connections_over_delta() {
    taking_over("delta", TWO_FOR_CONNECTIONS).await;
}

#[tokio::test]
async fn taking_over_for_connections_over_sotw() {
    taking_over("sotw", TWO_FOR_CONNECTIONS).await;
}
