//! What one document costs to read and to judge, by kind: `cargo run --release -p kinds --example bench_admission`.
//!
//! Schemas are compiled when a kind is first met, which is measured apart: it happens once for each kind.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use kinds::{Kind, Origin, Parsed, document, parse_document, schema};
use serde_json::Value;

const ROUNDS: u32 = 2_000;

const SAMPLES: [(Kind, &str, &str); 5] = [
    (
        Kind::HttpRoute,
        "v1",
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: default}
spec:
  parentRefs:
  - name: gateway
  hostnames: [a.example.com]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /one}
    backendRefs:
    - {name: first, port: 80, weight: 9}
    - {name: second, port: 80, weight: 1}
  - matches:
    - path: {type: Exact, value: /two}
    backendRefs:
    - {name: first, port: 80}
",
    ),
    (
        Kind::Gateway,
        "v1",
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: default}
spec:
  gatewayClassName: chancery
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - name: https
    protocol: HTTPS
    port: 443
    tls: {mode: Terminate, certificateRefs: [{name: certificate}]}
",
    ),
    (
        Kind::BackendTrafficPolicy,
        "v1alpha1",
        "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: policy, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]
  circuitBreaker: {maxConnections: 1000}
  retry: {numRetries: 2}
  timeout: {http: {requestTimeout: 300s}}
",
    ),
    (
        Kind::Service,
        "v1",
        "apiVersion: v1
kind: Service
metadata: {name: first, namespace: default}
spec:
  selector: {app: first}
  ports: [{name: http, port: 80, targetPort: 8080}]
",
    ),
    (
        Kind::EndpointSlice,
        "v1",
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: first-1
  namespace: default
  labels: {kubernetes.io/service-name: first}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.2], conditions: {ready: true}}
ports: [{name: http, port: 8080}]
",
    ),
];

fn main() {
    println!("{:<22} {:>10} {:>10} {:>10} {:>10}", "us per document", "YAML", "judged", "all", "first");
    for (kind, version, text) in SAMPLES {
        let origin = document::split(&Arc::from("sample.yaml"), &Arc::from(text));
        let origin = &origin[0];
        let decoded: Value = serde_saphyr::from_str(text).expect("the sample is YAML");
        let begin = Instant::now();
        assert_eq!(schema::admit(kind, kind.group(), version, &mut decoded.clone()), [], "{kind} is admitted");
        let first = begin.elapsed().as_secs_f64() * 1e6;
        let yaml = cost(|| serde_saphyr::from_str::<Value>(text).is_ok());
        let copied = cost(|| decoded.clone().is_object());
        let judged = cost(|| schema::admit(kind, kind.group(), version, &mut decoded.clone()).is_empty()) - copied;
        println!("{:<22} {yaml:>10.1} {judged:>10.1} {:>10.1} {first:>10.0}", kind.name(), cost(|| reads(origin)));
    }
}

fn reads(origin: &Origin) -> bool {
    matches!(parse_document(origin).first(), Some(Parsed::Object(..)))
}

/// Microseconds for one run, over many that must all succeed.
fn cost(run: impl Fn() -> bool) -> f64 {
    let begin = Instant::now();
    let done = (0..ROUNDS).filter(|_| black_box(run())).count();
    assert_eq!(done, ROUNDS as usize);
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}
