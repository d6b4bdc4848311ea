//! Applications that use the `openai` package of Python, as it is published, against a gateway.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;

use inference_sim::{Options, Simulator};
use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, key, route, rule};
use testkit::{ModelGateway, Refusing, free_port};
use tokio::process::Command;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/openai-3.51.0/bin/python");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai/client.py");
const POLICIES: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: callers, namespace: default}
stringData: {alice: sk-alice}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: callers, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ai}]
  apiKeyAuth:
    credentialRefs: [{name: callers}]
    extractFrom: [{headers: [Authorization]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limits, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ai}]
  rateLimit:
    global:
      rules:
      - limit: {requests: 0, unit: Hour}
        clientSelectors: [{headers: [{name: x-user-id, value: spent}]}]
";

#[tokio::test(flavor = "multi_thread")]
async fn the_package_works_as_it_is() {
    if !Path::new(PYTHON).exists() {
        // Not `eprintln!`: the harness would hide it from whoever runs the tests.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no {PYTHON}: run `make openai`");
        return;
    }
    for protocol in PROTOCOLS {
        let one = Simulator::start(Options::new("one", "small")).await.unwrap();
        let keyed = Options { api_key: Some("sk-two".to_owned()), ..Options::new("two", "large-2") };
        let two = Simulator::start(keyed).await.unwrap();
        let (port, down) = (free_port(), Refusing::new().unwrap());
        let rules = rule("small", "[{name: one}]")
            + &rule("org/large", "[{name: two, modelNameOverride: large-2}]")
            + &rule("claude", "[{name: claude}]")
            + &rule("down", "[{name: down}]");

        let manifests = gateway(port)
            + &backend("one", one.port(), "{name: OpenAI}", "")
            + &backend("two", two.port(), "{name: OpenAI}", "")
            + &backend("claude", one.port(), "{name: Anthropic}", "")
            + &backend("down", down.port, "{name: OpenAI}", "")
            + &key("two", "APIKey", "apiKey", "sk-two")
            + &route(&rules)
            + POLICIES;
        let start = Start { bootstrap: protocol, ..Start::default() };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let gateway = ModelGateway::start_as(binary, port, &manifests, start).await.unwrap();
        gateway.ready_for(&gateway.client().header("authorization", "Bearer sk-alice"), "small").await;
        let output =
            Command::new(PYTHON).arg(CLIENT).arg(format!("http://127.0.0.1:{port}/v1")).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{protocol:?}: {said}\n{}", gateway.envoy.log());
    }
}
