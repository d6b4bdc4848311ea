//! Edits of policies under a stock Envoy: they take effect at once, and no listener is touched, so that no connection
//! drains.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::time::Duration;

use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

fn world(port: u16, backend: u16) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec: {{gatewayClassName: chancery, listeners: [{{name: http, protocol: HTTP, port: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [app.test]
  rules: [{{backendRefs: [{{name: app, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: default}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app, namespace: default, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{name: http, port: {backend}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

fn policy(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: edited, namespace: default}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}}]\n  {spec}\n"
    )
}

fn keys(key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: default}}\nstringData: {{alice: {key}}}\n"
    )
}

const BY_KEY: &str = "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}";

#[tokio::test(flavor = "multi_thread")]
async fn edits_take_effect_and_drain_nothing() {
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let control = Chancery::start(
        env!("CARGO_BIN_EXE_chancery"),
        &[("world.yaml", &world(port, app.port)), ("keys.yaml", &keys("one"))],
    )
    .await
    .unwrap();
    let envoy = Envoy::start(&control.bootstrap("default/web", &[]).await.unwrap()).await.unwrap();
    let becomes = |key: &'static str, status: u16| {
        let ask = move || async move {
            let reply = HttpClient::new(port).host("app.test").header("x-key", key).get("/").await.ok()?;
            (reply.status == status).then_some(())
        };
        eventually("the edit takes effect", Duration::from_secs(10), ask)
    };
    becomes("none", 200).await;
    let listeners = envoy.stat("listener_manager.lds.update_success").await;

    // A guard appears, its key changes, its rules change, it goes.
    control.write("policy.yaml", &policy("SecurityPolicy", BY_KEY)).unwrap();
    becomes("none", 401).await;
    becomes("one", 200).await;
    control.write("keys.yaml", &keys("two")).unwrap();
    becomes("two", 200).await;
    becomes("one", 401).await;
    let rules = format!("{BY_KEY}\n  authorization: {{defaultAction: Deny}}");
    control.write("policy.yaml", &policy("SecurityPolicy", &rules)).unwrap();
    becomes("two", 403).await;
    // Its Secret goes: the route closes.
    control.remove("keys.yaml").unwrap();
    becomes("two", 500).await;
    control.remove("policy.yaml").unwrap();
    becomes("none", 200).await;

    // Traffic: a filter before the route, then a cluster of the policy's own, then none.
    control
        .write("policy.yaml", &policy("BackendTrafficPolicy", "faultInjection: {abort: {httpStatus: 418}}"))
        .unwrap();
    becomes("none", 418).await;
    control.write("policy.yaml", &policy("BackendTrafficPolicy", "circuitBreaker: {maxParallelRequests: 0}")).unwrap();
    becomes("none", 503).await;
    control.write("policy.yaml", &policy("BackendTrafficPolicy", "loadBalancer: {type: Random}")).unwrap();
    becomes("none", 200).await;
    control.remove("policy.yaml").unwrap();
    becomes("none", 200).await;

    assert_eq!(envoy.stat("listener_manager.lds.update_success").await, listeners, "an edit touched a listener");
    for stat in ["listener_manager.listener_modified", "listener_manager.listener_in_place_updated"] {
        assert_eq!(envoy.stat(stat).await, 0, "{stat}");
    }
}
