//! One thread through every layer: a directory, the graph, units, resources, a snapshot, xDS, a stock Envoy that answers a
//! request; then an edit, and the new answer.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

fn manifests(port: u16, first: u16) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners:
  - {{name: http, protocol: HTTP, port: {port}}}
---
{}---
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: default}}
spec:
  ports:
  - {{name: http, port: 80}}
---
{}",
        route("app.example.com", "/"),
        slice(first)
    )
}

fn route(host: &str, path: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: ['{host}']
  rules:
  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
    backendRefs: [{{name: app, port: 80}}]
"
    )
}

fn slice(port: u16) -> String {
    format!(
        r"apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-1
  namespace: default
  labels: {{kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

/// Envoy's two ways to run the protocol.
#[derive(Clone, Copy, PartialEq)]
enum Mux {
    Usual,
    Unified,
}

async fn walk(protocol: &str, mux: Mux) {
    let one = Echo::start("one").await.unwrap();
    let two = Echo::start("two").await.unwrap();
    let port = free_port();
    let control =
        Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &manifests(port, one.port))]).await.unwrap();
    let mut bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    if mux == Mux::Unified {
        let layer = "    static_layer:\n";
        assert!(bootstrap.contains(layer), "{bootstrap}");
        bootstrap = bootstrap.replace(layer, &format!("{layer}      envoy.reloadable_features.unified_mux: true\n"));
    }
    let envoy = Envoy::start(&bootstrap).await.unwrap();

    let answered_by = |host: &'static str, path: &'static str| async move {
        let reply = HttpClient::new(port).host(host).get(path).await.ok()?;
        Some((reply.status.as_u16(), reply.json()["name"].as_str().unwrap_or_default().to_owned()))
    };
    let becomes = |host, path, status: u16, name: &'static str| {
        eventually("the expected answer", Duration::from_secs(10), move || async move {
            answered_by(host, path).await.filter(|answer| *answer == (status, name.to_owned()))
        })
    };
    becomes("app.example.com", "/", 200, "one").await;
    becomes("APP.example.com", "/", 200, "one").await;
    becomes("app.example.com:8080", "/", 200, "one").await;
    becomes("other.example.com", "/", 404, "").await;

    // Another endpoint.
    control.write("all.yaml", &manifests(port, two.port)).unwrap();
    becomes("app.example.com", "/", 200, "two").await;

    // Another path, then another host, a wildcard one.
    let edited = manifests(port, two.port).replace(&route("app.example.com", "/"), &route("app.example.com", "/v2"));
    control.write("all.yaml", &edited).unwrap();
    becomes("app.example.com", "/", 404, "").await;
    becomes("app.example.com", "/v2/x", 200, "two").await;
    let edited = manifests(port, two.port).replace(&route("app.example.com", "/"), &route("*.example.com", "/"));
    control.write("all.yaml", &edited).unwrap();
    becomes("any.example.com", "/", 200, "two").await;

    // Internal headers reach nobody, and a client cannot choose a table.
    let reply = HttpClient::new(port).host("any.example.com").header("x-chancery-scope", "elsewhere").get("/").await;
    let reply = reply.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.json()["headers"]["x-chancery-scope"].is_null(), "{}", reply.text());

    // A broken file changes nothing.
    control.write("all.yaml", "kind: [").unwrap();
    control.write("more.yaml", &slice(one.port).replace("app-1", "app-2")).unwrap();
    becomes("any.example.com", "/", 200, "one").await;

    if mux == Mux::Unified {
        let runtime = envoy.admin("/runtime").await.unwrap();
        assert!(runtime.contains("envoy.reloadable_features.unified_mux"), "{runtime}");
    }
    let fleet = control.page("/fleet").await.unwrap();
    assert_eq!(fleet["clients"][0]["gateway"], "default/web");
    assert_eq!(fleet["clients"][0]["variant"], protocol);
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_reaches_envoy_over_delta() {
    walk("delta", Mux::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_reaches_envoy_over_sotw() {
    walk("sotw", Mux::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_reaches_envoy_over_the_unified_mux() {
    for protocol in ["delta", "sotw"] {
        walk(protocol, Mux::Unified).await;
    }
}
