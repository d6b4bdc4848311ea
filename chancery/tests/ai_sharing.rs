//! How the servers of a model share its requests: by weights, by what they report, and unseen.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use inference_sim::{Load, Options, Simulator};
use serde_json::{Value, json};
use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, route, rule};
use testkit::{HttpClient, ModelGateway, eventually, free_port, own_address};

const CHAT: &str = "/v1/chat/completions";

async fn start(port: u16, manifests: &str, bootstrap: &[&str]) -> ModelGateway {
    let start = Start { bootstrap, ..Start::default() };
    ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, manifests, start).await.unwrap()
}

/// Who answered so many requests, all of them well.
async fn shares(gateway: &ModelGateway, count: usize) -> BTreeMap<String, usize> {
    let mut connection = gateway.client().connect().await.unwrap();
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let reply = connection.post(CHAT, question().to_string()).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("endpoint-load-metrics"), None, "how busy a server is concerns no client");
        *shares.entry(reply.header("x-sim-server").unwrap().to_owned()).or_insert(0) += 1;
    }
    shares
}

fn question() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "a question"}]})
}

/// A new version takes over by and by, under traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_grows() {
    const REQUESTS: usize = 400;
    for protocol in PROTOCOLS {
        let stable = Simulator::start(Options::new("stable", "m")).await.unwrap();
        let canary = Simulator::start(Options::new("canary", "m")).await.unwrap();
        let port = free_port();
        let manifests = |percent: usize| {
            let refs = format!("[{{name: stable, weight: {}}}, {{name: canary, weight: {percent}}}]", 100 - percent);
            gateway(port)
                + &backend("stable", stable.port(), "{name: OpenAI}", "")
                + &backend("canary", canary.port(), "{name: OpenAI}", "")
                + &route(&rule("m", &refs))
        };
        let gateway = start(port, &manifests(0), protocol).await;
        gateway.ready("m").await;
        assert_eq!(shares(&gateway, 50).await.get("canary"), None);
        for percent in [5, 25, 50, 100] {
            gateway.control.write("all.yaml", &manifests(percent)).unwrap();
            // Five standard deviations of a fair share.
            let expected = REQUESTS * percent / 100;
            let spread = (expected * (100 - percent) / 100).isqrt() * 5;
            eventually("the canary has its share", Duration::from_secs(20), || async {
                let served = shares(&gateway, REQUESTS).await.get("canary").copied().unwrap_or(0);
                (served.abs_diff(expected) <= spread && served > 0).then_some(())
            })
            .await;
        }
        assert_eq!(shares(&gateway, 50).await.get("stable"), None);
    }
}

fn pool(name: &str, port: u16, annotation: &str) -> String {
    format!(
        "---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: {name}, namespace: default, annotations: {{{annotation}}}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  targetPorts: [{{number: {port}}}]
"
    )
}

fn pod(name: &str, pool: &str, server: &Simulator) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {pool}}}}}
status: {{podIP: {}, conditions: [{{type: Ready, status: 'True'}}]}}
",
        server.address.ip()
    )
}

/// Servers at one port of addresses of their own, as pods are.
async fn servers(names: &[&str]) -> (u16, Vec<Simulator>) {
    let (port, [a, b, c, _]) = (free_port(), own_address().octets());
    let mut servers = Vec::new();
    for (at, name) in (1_u8..).zip(names) {
        let address = SocketAddr::from(([a, b, c, at], port));
        servers.push(Simulator::bind(Options::new(name, "m"), address).await.unwrap());
    }
    (port, servers)
}

fn to_pool(name: &str, weight: u32) -> String {
    format!("{{group: inference.networking.k8s.io, kind: InferencePool, name: {name}, weight: {weight}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_report_their_load_are_given_what_they_can_take() {
    for protocol in PROTOCOLS {
        let (port_of_pool, servers) = servers(&["idle", "half", "busy"]).await;
        for (server, kv_cache) in servers.iter().zip([0.1, 0.4, 0.8]) {
            server.pretend(Load { running: 1, waiting: 0, kv_cache });
        }
        let port = free_port();
        let pods = servers.iter().zip(["idle", "half", "busy"]).map(|(server, name)| pod(name, "pool", server));
        let manifests = gateway(port)
            + &pool("pool", port_of_pool, "chancery.dev/load-reports: 'true'")
            + &pods.collect::<String>()
            + &route(&rule("m", &format!("[{}]", to_pool("pool", 1))));
        let gateway = start(port, &manifests, protocol).await;
        gateway.ready("m").await;
        // Weights are as one over the load: 66, 16 and 8 of 90.
        eventually("the load decides", Duration::from_secs(30), || async {
            let shares = shares(&gateway, 90).await;
            let of = |name: &str| shares.get(name).copied().unwrap_or(0);
            (of("idle").abs_diff(66) <= 4 && of("half").abs_diff(16) <= 3 && of("busy").abs_diff(8) <= 3).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pools_and_a_backend_share_a_model() {
    for protocol in PROTOCOLS {
        let (port_of_pools, servers) = servers(&["a-1", "a-2", "b-1"]).await;
        let provider = Simulator::start(Options::new("provider", "m")).await.unwrap();
        let port = free_port();
        let refs = format!(
            "[{}, {}, {{group: gateway.envoyproxy.io, kind: Backend, name: provider}}]",
            to_pool("a", 2),
            to_pool("b", 1)
        );
        let manifests = gateway(port)
            + &pool("a", port_of_pools, "")
            + &pool("b", port_of_pools, "")
            + &pod("a-1", "a", &servers[0])
            + &pod("a-2", "a", &servers[1])
            + &pod("b-1", "b", &servers[2])
            + &backend("provider", provider.port(), "{name: OpenAI}", "")
            + &format!(
                "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: mixed, namespace: default}}
spec:
  parentRefs: [{{name: ai}}]
  rules: [{{backendRefs: {refs}}}]
"
            );
        let gateway = start(port, &manifests, protocol).await;
        gateway.ready("m").await;
        // By weight: two to one to one, and the pool of two shares its part.
        let shares = shares(&gateway, 800).await;
        for name in ["a-1", "a-2", "b-1", "provider"] {
            let served = shares.get(name).copied().unwrap_or(0);
            assert!(served.abs_diff(200) < 75, "{name}: {shares:?}");
        }
    }
}

/// Each model of a route has a pool of its own.
#[tokio::test(flavor = "multi_thread")]
async fn several_pools_of_one_route() {
    for protocol in PROTOCOLS {
        let (port_of_pools, servers) = servers(&["a-1", "b-1"]).await;
        let port = free_port();
        let pools = ["a", "b"].map(|name| rule(name, &format!("[{}]", to_pool(name, 1)))).concat();
        let manifests = gateway(port)
            + &pool("a", port_of_pools, "")
            + &pool("b", port_of_pools, "")
            + &pod("a-1", "a", &servers[0])
            + &pod("b-1", "b", &servers[1])
            + &route(&pools);
        let gateway = start(port, &manifests, protocol).await;
        for (model, server) in [("a", "a-1"), ("b", "b-1")] {
            // The servers know neither: who refuses is who was asked.
            eventually("the pool is asked", Duration::from_secs(20), || async {
                let reply = gateway.chat(json!({"model": model}).to_string()).await.ok()?;
                (reply.header("x-sim-server") == Some(server)).then_some(())
            })
            .await;
        }
    }
}

/// Shadow traffic: another server sees what is asked, and nobody sees what it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_sees_the_requests() {
    for protocol in PROTOCOLS {
        let main = Simulator::start(Options::new("main", "m")).await.unwrap();
        // It knows no such model: whatever it answers is nobody's business.
        let shadow = Simulator::start(Options::new("shadow", "other")).await.unwrap();
        let port = free_port();
        let manifests = gateway(port)
            + &backend("main", main.port(), "{name: OpenAI}", "")
            + &backend("shadow", shadow.port(), "{name: OpenAI}", "")
            + "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shadowed, namespace: default}
spec:
  parentRefs: [{name: ai}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v1}}]
    filters:
    - type: RequestMirror
      requestMirror: {backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: shadow}}
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]
";
        let gateway = start(port, &manifests, protocol).await;
        gateway.ready("m").await;
        let before = main.requests().len();
        assert_eq!(shares(&gateway, 50).await, [("main".to_owned(), 50)].into());
        eventually("the shadow has seen all", Duration::from_secs(5), || async {
            let seen = shadow.requests().iter().filter(|seen| seen.json() == question()).count();
            (seen == 50).then_some(())
        })
        .await;
        assert_eq!(main.requests().len(), before + 50);
        // A shadow that is away costs nobody anything.
        drop(shadow);
        assert_eq!(shares(&gateway, 20).await, [("main".to_owned(), 20)].into());
        assert_eq!(HttpClient::new(port).get("/v1/models").await.unwrap().status, 200);
    }
}
