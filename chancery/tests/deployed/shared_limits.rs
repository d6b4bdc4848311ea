//! The variant with Redis: what the Envoys of a Gateway let through together is what the limit allows once.

use testkit::eventually;

use crate::lab::{LONG, Lab};

const SHOP: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: two, namespace: shop}
spec:
  concurrency: 1
  shutdown: {drainTimeout: 1s, minDrainDuration: 0s}
  provider: {type: Kubernetes, kubernetes: {envoyDeployment: {replicas: 2}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: chancery
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: two}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: shop}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - {name: app, image: 'app:1', readinessProbe: {tcpSocket: {port: 8080}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: three, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]
  rateLimit:
    global:
      rules:
      - limit: {requests: 3, unit: Hour}
        clientSelectors: [{headers: [{name: x-user, type: Distinct}]}]
";

const PODS: &str = "jsonpath={range .items[*]}{.status.podIP}{\" \"}{end}";
const ENVOYS: &str = "gateway.networking.k8s.io/gateway-name=web";

#[tokio::test(flavor = "multi_thread")]
async fn two_envoys_share_a_counter() {
    let Some(lab) = Lab::start().await else { return };
    lab.install("chancery-redis").await;
    lab.apply(&[], SHOP).await;
    let programmed = ["-n", "shop", "wait", "--for=condition=Programmed", "--timeout=5s", "gateway/web"];
    eventually("the Gateway is programmed", LONG, || async { lab.kubectl(&programmed).ok() }).await;
    let deployments = ["-n", "shop", "wait", "--for=condition=Available", "--timeout=5s", "deployment", "--all"];
    eventually("its Envoys are ready", LONG, || async { lab.kubectl(&deployments).ok() }).await;
    let addresses = lab.kubectl(&["-n", "shop", "get", "pods", "-l", ENVOYS, "-o", PODS]).unwrap();
    let [one, other] = addresses.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{addresses}") };

    // A service that is not reached yet lets everybody through; whoever comes after somebody was stopped is counted.
    let mut users = 0;
    let mut turns = || {
        users += 1;
        [one, other, one, other, one].map(|address| lab.ask(address, &format!("user-{users}")))
    };
    let wait = || std::future::ready(turns().contains(&Some(429)).then_some(()));
    eventually("somebody is stopped", LONG, wait).await;
    assert_eq!(turns(), [200, 200, 200, 429, 429].map(Some));
    assert_eq!(turns(), [200, 200, 200, 429, 429].map(Some));

    // Everything runs as the manifests say: nothing of its root can be written.
    for (namespace, workload) in [
        ("chancery-system", "deployment/chancery"),
        ("chancery-system", "deployment/chancery-ratelimit"),
        ("chancery-system", "deployment/chancery-redis"),
        ("shop", "deployment/web-chancery"),
    ] {
        let said = lab.kubectl(&["-n", namespace, "exec", workload, "--", "touch", "/usr/written"]);
        assert!(said.as_ref().is_err_and(|said| said.contains("Read-only file system")), "{workload}: {said:?}");
    }
}
