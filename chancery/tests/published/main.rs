//! Manifests that others publish, as their readers apply them: nothing is changed but the port of the listener, and what a
//! cluster would add stands beside them.

#![allow(clippy::unwrap_used)]

mod aibrix;
mod kserve;
mod kubelb;

use tempfile::NamedTempFile;
use testkit::model_gateway::Start;
use testkit::{Authority, Dns, ModelGateway};

const CHAT: &str = "/v1/chat/completions";
const NO_MODEL: &str = "No matching route found. It is likely because the model specified in your request is not configured in the Gateway.";

/// Names as this machine knows them, and whom its roots vouch for.
struct Surroundings {
    dns: Dns,
    roots: NamedTempFile,
}

impl Surroundings {
    fn new(dns: Dns, authority: &Authority) -> Self {
        let roots = NamedTempFile::new().unwrap();
        std::fs::write(roots.path(), &authority.certificate).unwrap();
        Self { dns, roots }
    }

    async fn start(&self, gateway: &str, port: u16, manifests: &str, bootstrap: &[&str]) -> ModelGateway {
        let resolver = self.dns.resolver() + "static_resources:";
        let start = Start {
            gateway,
            serve: &["--system-roots", self.roots.path().to_str().unwrap()],
            bootstrap,
            edits: &[("static_resources:", &resolver)],
        };
        ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, manifests, start).await.unwrap()
    }
}

/// Sends what goes to port 443 of a host to another port: no test may bind that one.
fn patched(gateway: (&str, &str), cluster: &str, port: u16) -> String {
    let (namespace, name) = gateway;
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {{name: port, namespace: {namespace}}}
spec:
  targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: {cluster}
    operation:
      op: replace
      path: /load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value
      value: {port}
"
    )
}
