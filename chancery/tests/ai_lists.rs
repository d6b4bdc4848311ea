//! The list of a gateway's models: it follows every edit, and a long one is sent to whoever asks for it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, route, rule};
use testkit::{Echo, ModelGateway, eventually, free_port};

/// One change may send so much.
const CHANGE: u64 = 2048;

fn models(count: usize) -> String {
    let rules: Vec<String> = (0..count).map(|at| rule(&format!("model-{at:03}"), "[{name: one}]")).collect();
    let routes = rules.chunks(15).enumerate();
    routes.map(|(at, rules)| route(&rules.concat()).replace("name: models,", &format!("name: models-{at},"))).collect()
}

async fn listed(gateway: &ModelGateway) -> Vec<String> {
    let reply = gateway.client().get("/v1/models").await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let all = reply.json()["data"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
}

async fn received(gateway: &ModelGateway) -> u64 {
    gateway.envoy.stat("cluster.chancery.upstream_cx_rx_bytes_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_travels_when_it_is_asked_for() {
    for protocol in PROTOCOLS {
        let one = Echo::start("one").await.unwrap();
        let port = free_port();
        let manifests = |count| gateway(port) + &backend("one", one.port, "{name: OpenAI}", "") + &models(count);
        let start = Start { bootstrap: protocol, ..Start::default() };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let gateway = ModelGateway::start_as(binary, port, &manifests(199), start).await.unwrap();
        gateway.ready("model-000").await;
        assert_eq!(listed(&gateway).await.len(), 199);
        let before = received(&gateway).await;
        gateway.control.write("all.yaml", &manifests(200)).unwrap();
        gateway.ready("model-199").await;
        let sent = received(&gateway).await - before;
        // State of the world has the names of all models in every change.
        assert!(!protocol.is_empty() || sent < CHANGE, "{sent} bytes for a new model");
        let all = listed(&gateway).await;
        assert_eq!((all.len(), all[199].as_str()), (200, "model-199"));
        gateway.control.write("all.yaml", &manifests(198)).unwrap();
        eventually("the list is shorter", Duration::from_secs(10), || async {
            (listed(&gateway).await.len() == 198).then_some(())
        })
        .await;
        // A short list is the same wherever it came from.
        for count in [17, 16, 3, 16, 17] {
            gateway.control.write("all.yaml", &manifests(count)).unwrap();
            eventually("the list is short", Duration::from_secs(10), || async {
                (listed(&gateway).await.len() == count).then_some(())
            })
            .await;
        }
    }
}

/// Up to a thousand models are with an Envoy from its start.
#[tokio::test(flavor = "multi_thread")]
async fn models_that_nobody_asked_for_are_served_without_the_control_plane() {
    for protocol in PROTOCOLS {
        let one = Echo::start("one").await.unwrap();
        let port = free_port();
        let manifests = |count| gateway(port) + &backend("one", one.port, "{name: OpenAI}", "") + &models(count);
        let start = Start { bootstrap: protocol, ..Start::default() };
        let binary = env!("CARGO_BIN_EXE_chancery");
        let mut gateway = ModelGateway::start_as(binary, port, &manifests(100), start).await.unwrap();
        gateway.ready("model-000").await;
        gateway.control.kill().await.unwrap();
        for (model, status) in [("model-000", 200), ("model-099", 200), ("model-100", 404)] {
            let reply = gateway.chat(format!("{{\"model\":\"{model}\"}}")).await.unwrap();
            assert_eq!(reply.status, status, "{model}: {}", reply.text());
        }
        // An Envoy comes back soon after the control plane does.
        gateway.control.restart().await.unwrap();
        gateway.control.write("all.yaml", &manifests(101)).unwrap();
        gateway.ready("model-100").await;
    }
}
