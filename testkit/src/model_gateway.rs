//! A gateway of models: control plane, Envoy, and a client; and the manifests most such gateways are made of.
//!
//! Manifests are documents, each with its `---` before it, to be put one behind the other.

use std::time::Duration;

use serde_json::json;

use crate::{Chancery, Envoy, HttpClient, Reply, eventually};

/// What the manifests below call the Gateway.
const NAME: &str = "default/ai";
/// Every protocol an Envoy can follow the control plane by, as options of `chancery bootstrap`.
pub const PROTOCOLS: [&[&str]; 2] = [&[], &["--protocol", "sotw"]];

#[derive(Debug)]
pub struct ModelGateway {
    pub port: u16,
    pub control: Chancery,
    pub envoy: Envoy,
}

/// What differs from the usual start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Namespace and name of the Gateway whose Envoy it is.
    pub gateway: &'a str,
    /// Options of `chancery serve`.
    pub serve: &'a [&'a str],
    /// Options of `chancery bootstrap`.
    pub bootstrap: &'a [&'a str],
    /// Texts of the bootstrap, and what stands in their places.
    pub edits: &'a [(&'a str, &'a str)],
}

impl Default for Start<'_> {
    fn default() -> Self {
        Self { gateway: NAME, serve: &[], bootstrap: &[], edits: &[] }
    }
}

impl ModelGateway {
    /// Starts the binary over manifests, and an Envoy of the Gateway `ai`, which listens on a port.
    pub async fn start(binary: &str, port: u16, manifests: &str) -> anyhow::Result<Self> {
        Self::start_as(binary, port, manifests, Start::default()).await
    }

    pub async fn start_as(binary: &str, port: u16, manifests: &str, start: Start<'_>) -> anyhow::Result<Self> {
        let control = Chancery::start_with(binary, &[("all.yaml", manifests)], start.serve).await?;
        let mut bootstrap = control.bootstrap(start.gateway, start.bootstrap).await?;
        for (text, other) in start.edits {
            anyhow::ensure!(bootstrap.contains(text), "the bootstrap has no `{text}`");
            bootstrap = bootstrap.replace(text, other);
        }
        Ok(Self { port, envoy: Envoy::start(&bootstrap).await?, control })
    }

    #[must_use]
    pub fn client(&self) -> HttpClient {
        HttpClient::new(self.port).header("content-type", "application/json")
    }

    pub async fn chat(&self, body: impl Into<String>) -> anyhow::Result<Reply> {
        self.client().post("/v1/chat/completions", body.into()).await
    }

    /// Waits until a model is served.
    pub async fn ready(&self, model: &str) {
        self.ready_for(&self.client(), model).await;
    }

    /// Waits until a model is served to a client.
    pub async fn ready_for(&self, client: &HttpClient, model: &str) {
        let body = json!({"model": model, "messages": []}).to_string();
        eventually("the model is served", Duration::from_secs(20), || async {
            let reply = client.post("/v1/chat/completions", body.clone()).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }
}

/// The Gateway `ai`, plain HTTP on a port.
#[must_use]
pub fn gateway(port: u16) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: ai, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
"
    )
}

/// A server of 127.0.0.1 under a name: a Backend, and an AIServiceBackend of a schema, with more lines of its spec.
#[must_use]
pub fn backend(name: &str, port: u16, schema: &str, more: &str) -> String {
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: {name}, namespace: default}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {port}}}}}]}}
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIServiceBackend
metadata: {{name: {name}, namespace: default}}
spec:
  schema: {schema}
  backendRef: {{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}
{more}
"
    )
}

/// The key of a backend: a Secret, and a BackendSecurityPolicy of a type with the field that names it.
#[must_use]
pub fn key(backend: &str, kind: &str, field: &str, value: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Secret
metadata: {{name: {backend}-key, namespace: default}}
stringData: {{apiKey: {value}}}
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: BackendSecurityPolicy
metadata: {{name: {backend}, namespace: default}}
spec:
  targetRefs: [{{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: {backend}}}]
  type: {kind}
  {field}: {{secretRef: {{name: {backend}-key}}}}
"
    )
}

/// The AIGatewayRoute `models` of rules; further fields of its spec may follow.
#[must_use]
pub fn route(rules: &str) -> String {
    format!(
        "---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIGatewayRoute
metadata: {{name: models, namespace: default}}
spec:
  parentRefs: [{{name: ai, kind: Gateway, group: gateway.networking.k8s.io}}]
  rules:
{rules}"
    )
}

/// A rule for one model.
#[must_use]
pub fn rule(model: &str, backends: &str) -> String {
    format!("  - matches: [{{headers: [{{name: x-ai-eg-model, value: {model}}}]}}]\n    backendRefs: {backends}\n")
}

/// The endpoints that a manifest leaves to its cluster.
#[must_use]
pub fn endpoints(namespace: &str, service: &str, port: u16) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}
