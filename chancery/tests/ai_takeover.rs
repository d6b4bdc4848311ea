//! When one server cannot answer, the next one does: whatever it was that went wrong, and however servers are named.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use inference_sim::{Fault, Options, Simulator};
use serde_json::{Value, json};
use testkit::model_gateway::{PROTOCOLS, Start, backend, endpoints, gateway, key, route, rule};
use testkit::{Dns, ModelGateway, eventually, free_port};

const CHAT: &str = "/v1/chat/completions";
const TO_BOTH: &str = "[{name: one}, {name: two, priority: 1, modelNameOverride: m-2}]\n    timeouts: {request: 30s, backendRequest: 500ms}";

struct Pair {
    one: Simulator,
    two: Simulator,
}

impl Pair {
    /// Each wants a key of its own.
    async fn start() -> Self {
        let server = |name: &str, model: &str| {
            let key = Some(format!("sk-{name}"));
            Simulator::start(Options { api_key: key, completion_tokens: 40, ..Options::new(name, model) })
        };
        Self { one: server("one", "m").await.unwrap(), two: server("two", "m-2").await.unwrap() }
    }

    /// A gateway before both, which serves the model already.
    async fn gateway(&self, protocol: &[&str]) -> ModelGateway {
        let port = free_port();
        let start = Start { bootstrap: protocol, ..Start::default() };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let gateway = ModelGateway::start_as(binary, port, &self.manifests(port), start).await.unwrap();
        gateway.ready("m").await;
        gateway
    }

    fn manifests(&self, port: u16) -> String {
        gateway(port)
            + &backend("one", self.one.port(), "{name: OpenAI}", "")
            + &backend("two", self.two.port(), "{name: OpenAI}", "")
            + &key("one", "APIKey", "apiKey", "sk-one")
            + &key("two", "APIKey", "apiKey", "sk-two")
            + &route(&rule("m", TO_BOTH))
    }
}

fn question(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "a question"}]})
}

async fn answered_by(gateway: &ModelGateway) -> Result<String, u16> {
    let reply = gateway.client().post_json(CHAT, &question(false)).await.unwrap();
    let server = reply.header("x-sim-server").unwrap_or_default().to_owned();
    if reply.status == 200 { Ok(server) } else { Err(reply.status.as_u16()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_the_answer() {
    for protocol in PROTOCOLS {
        let pair = Pair::start().await;
        let gateway = pair.gateway(protocol).await;
        let slow = Fault { delay_ms: 20_000, ..Fault::default() };
        let broken = Fault { close_after: Some(0), ..Fault::default() };
        for fault in [Fault::status(429), Fault::status(500), Fault::status(503), slow, broken] {
            assert_eq!(answered_by(&gateway).await, Ok("one".to_owned()), "before {fault:?}");
            pair.one.inject(fault.clone());
            for _ in 0..3 {
                assert_eq!(answered_by(&gateway).await, Ok("two".to_owned()), "{fault:?}");
            }
            pair.one.recover();
        }
        // What the client did wrong is wrong everywhere.
        for status in [400, 404] {
            pair.one.inject(Fault::status(status));
            assert_eq!(answered_by(&gateway).await, Err(status));
            pair.one.recover();
        }
        // When both fail, the client hears from the last one.
        pair.one.inject(Fault::status(503));
        pair.two.inject(Fault::status(429));
        assert_eq!(answered_by(&gateway).await, Err(429));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_begun_is_never_begun_again() {
    for protocol in PROTOCOLS {
        let pair = Pair::start().await;
        let gateway = pair.gateway(protocol).await;
        pair.one.inject(Fault { close_after: Some(5), ..Fault::default() });
        let (before, asked) = (pair.one.requests().len(), pair.two.requests().len());
        let mut stream = gateway.client().stream_json(CHAT, &question(true)).await.unwrap();
        assert_eq!(stream.status, 200);
        let mut events = 0;
        let broken = loop {
            match stream.next_event().await {
                Ok(Some(_)) => events += 1,
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken && (1..=5).contains(&events), "{events} events, then broken off: {broken}");
        assert_eq!((pair.one.requests().len(), pair.two.requests().len()), (before + 1, asked));
    }
}

/// By address, by name, and by a Service, in every place.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_every_sort_take_over() {
    let pair = Pair::start().await;
    let dns = Dns::start().await.unwrap();
    let resolver = dns.resolver() + "static_resources:";
    let sorts = ["address", "name", "service"];
    let server = |sort: &str, name: &str, port: u16| {
        let address = format!("ip: {{address: 127.0.0.1, port: {port}}}");
        let plain = backend(name, port, "{name: OpenAI}", "");
        match sort {
            "address" => plain,
            "name" => plain.replace(&address, &format!("fqdn: {{hostname: {name}.example.com, port: {port}}}")),
            _ => {
                let service = format!("backendRef: {{kind: Service, name: {name}-pods, port: 80}}");
                let to_backend = format!("backendRef: {{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}");
                let pods = format!("{name}-pods");
                plain.replace(&to_backend, &service)
                    + &format!(
                        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {pods}, namespace: default}}\nspec: {{ports: [{{port: 80, targetPort: {port}}}]}}\n"
                    )
                    + &endpoints("default", &pods, port)
            }
        }
    };
    let pairs = sorts.iter().flat_map(|first| sorts.iter().map(move |second| (*first, *second)));
    for (first, second) in pairs {
        let port = free_port();
        let manifests = gateway(port)
            + &server(first, "one", pair.one.port())
            + &server(second, "two", pair.two.port())
            + &key("one", "APIKey", "apiKey", "sk-one")
            + &key("two", "APIKey", "apiKey", "sk-two")
            + &route(&rule("m", TO_BOTH));
        let start = Start { edits: &[("static_resources:", &resolver)], ..Start::default() };
        let gateway = ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, &manifests, start).await.unwrap();
        gateway.ready("m").await;
        assert_eq!(answered_by(&gateway).await, Ok("one".to_owned()), "{first}, {second}");
        pair.one.inject(Fault::status(503));
        for _ in 0..4 {
            assert_eq!(answered_by(&gateway).await, Ok("two".to_owned()), "{first}, {second}");
            let seen = pair.two.requests().pop().unwrap();
            assert_eq!((seen.header("authorization"), &seen.json()["model"]), (Some("Bearer sk-two"), &json!("m-2")));
        }
        pair.one.recover();
    }
}

/// A server that has no endpoints is passed over at once, and comes back with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_endpoints_is_passed_over() {
    for protocol in PROTOCOLS {
        let pair = Pair::start().await;
        let port = free_port();
        let service = "---
apiVersion: v1
kind: Service
metadata: {name: pods, namespace: default}
spec: {ports: [{port: 80}]}
";
        let to_backend = "backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: one}";
        let manifests = pair.manifests(port).replace(to_backend, "backendRef: {kind: Service, name: pods, port: 80}")
            + service
            + &endpoints("default", "pods", pair.one.port());
        let empty = manifests.replace("endpoints: [{addresses: [127.0.0.1]}]", "endpoints: []");
        let start = Start { bootstrap: protocol, ..Start::default() };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let gateway = ModelGateway::start_as(binary, port, &empty, start).await.unwrap();
        gateway.ready("m").await;
        for _ in 0..5 {
            assert_eq!(answered_by(&gateway).await, Ok("two".to_owned()));
        }
        for (text, server) in [(&manifests, "one"), (&empty, "two")] {
            gateway.control.write("all.yaml", text).unwrap();
            eventually("the endpoints are known", Duration::from_secs(10), || async {
                (answered_by(&gateway).await.unwrap() == server).then_some(())
            })
            .await;
        }
    }
}
