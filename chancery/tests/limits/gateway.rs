//! A gateway with an inference server behind it, and the counters of its limits.

use std::time::Duration;

use inference_sim::Simulator;
use serde_json::{Value, json};
use testkit::model_gateway::{self, Start, rule};
pub(crate) use testkit::model_gateway::{endpoints, gateway};
use testkit::{Chancery, Echo, Envoy, HttpClient, ModelGateway, Reply, StreamingReply, eventually};

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) struct Gateway {
    pub port: u16,
    pub control: Chancery,
    pub envoy: Envoy,
}

impl Gateway {
    pub(crate) async fn start(name: &str, port: u16, manifests: &str, options: &[&str]) -> Self {
        let of_bootstrap = options.first() == Some(&"--protocol");
        let start = Start {
            gateway: name,
            serve: if of_bootstrap { &[] } else { options },
            bootstrap: if of_bootstrap { options } else { &[] },
            // Histograms are seen after each flush.
            edits: &[("stats_flush_interval: 60s", "stats_flush_interval: 1s")],
        };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let ModelGateway { port, control, envoy } =
            ModelGateway::start_as(binary, port, manifests, start).await.unwrap();
        Self { port, control, envoy }
    }

    pub(crate) fn client(&self, user: &str) -> HttpClient {
        HttpClient::new(self.port).header("x-user-id", user)
    }

    pub(crate) async fn ask(&self, user: &str, body: &Value) -> Reply {
        self.client(user).post_json(CHAT, body).await.unwrap()
    }

    pub(crate) async fn stream(&self, user: &str, body: &Value) -> StreamingReply {
        self.client(user).stream_json(CHAT, body).await.unwrap()
    }

    /// Waits until a request is answered; of a user whose counters nobody looks at.
    pub(crate) async fn ready(&self, path: &str, body: &Value) {
        eventually("the model is served", Duration::from_secs(20), || async {
            let reply = self.client("nobody").post_json(path, body).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until so much is spent of all counters together, and nothing held any more.
    pub(crate) async fn settled(&self, spent: u64) {
        eventually("everything is settled", Duration::from_secs(10), || async {
            let page = self.control.page("/limits").await.ok()?;
            let counters = page["counters"].as_array()?;
            let sum = |field: &str| counters.iter().filter_map(|counter| counter[field].as_u64()).sum::<u64>();
            (sum("reserved") == 0 && sum("spent") == spent).then_some(())
        })
        .await;
    }

    /// What a user has spent, by the rule's number in its policy, once nothing is held any more.
    pub(crate) async fn spent(&self, user: &str) -> Vec<(usize, u64)> {
        let contains = format!("user-id%3D{user}");
        eventually("everything is settled", Duration::from_secs(10), || async {
            let page = self.control.page(&format!("/limits?contains={contains}")).await.ok()?;
            let counters = page["counters"].as_array()?;
            // A control plane that has just begun does not know yet whose counters they are.
            if counters.iter().any(|counter| counter["reserved"] != 0 || counter["field"].is_null()) {
                return None;
            }
            let mut spent: Vec<(usize, u64)> = counters
                .iter()
                .filter_map(|counter| {
                    let field = counter["field"].as_str()?;
                    let number = field.rsplit_once('[')?.1.trim_end_matches(']').parse().ok()?;
                    Some((number, counter["spent"].as_u64()?))
                })
                .collect();
            spent.sort_unstable();
            Some(spent)
        })
        .await
    }
}

/// A question of so many words.
pub(crate) fn question(model: &str, words: usize, stream: bool) -> Value {
    let words = vec!["word"; words].join(" ");
    json!({ "model": model, "messages": [{"role": "user", "content": words}], "stream": stream })
}

pub(crate) fn backend(name: &str, server: &Simulator, schema: &str) -> String {
    model_gateway::backend(name, server.port(), &format!("{{name: {schema}}}"), "")
}

/// A route of models, each with its backend, and the costs of its requests.
pub(crate) fn route(models: &[(&str, &str)], costs: &[&str]) -> String {
    let rules: String = models.iter().map(|(model, backend)| rule(model, &format!("[{{name: {backend}}}]"))).collect();
    let costs: String = costs.iter().map(|cost| format!("  - {{{cost}}}\n")).collect();
    model_gateway::route(&rules) + "  llmRequestCosts:\n" + &costs
}

/// Rules about everything of the Gateway.
pub(crate) fn limits(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {{{rule}}}\n")).collect();
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: limits, namespace: default}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: ai}}]
  rateLimit:
    global:
      rules:
{rules}"
    )
}

/// A budget of each user, in a cost.
pub(crate) fn budget(requests: u64, key: &str) -> String {
    format!(
        "limit: {{requests: {requests}, unit: Year}}, clientSelectors: [{{headers: [{{name: x-user-id, type: Distinct}}]}}], \
         cost: {{request: {{from: Number, number: 0}}, \
         response: {{from: Metadata, metadata: {{namespace: io.envoy.ai_gateway, key: {key}}}}}}}"
    )
}

/// A route to a server that is none of models.
pub(crate) fn app(server: &Echo) -> String {
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: app, namespace: default}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {}}}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: ai}}]
  rules:
  - backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: app}}]
",
        server.port
    )
}
