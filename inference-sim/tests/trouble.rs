//! Load and failures, as ordered.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use inference_sim::{Fault, Load, Options, Simulator};
use serde_json::{Value, json};
use testkit::{HttpClient, eventually};

const CHAT: &str = "/v1/chat/completions";

fn question(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "hello" }] })
}

async fn start(options: Options) -> (Simulator, HttpClient) {
    let simulator = Simulator::start(options).await.unwrap();
    let client = HttpClient::new(simulator.port());
    (simulator, client)
}

#[tokio::test]
async fn a_fault_strikes_as_often_as_ordered() {
    let (simulator, client) = start(Options::new("a", "m")).await;
    let fault = json!({ "status": 429, "retry_after": 7, "times": 1 });
    assert_eq!(client.send(http::Method::PUT, "/sim/fault", fault.to_string()).await.unwrap().status, 200);
    let reply = client.post_json(CHAT, &question(false)).await.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.json()["error"]["type"], "RateLimitError");
    assert_eq!(client.post_json(CHAT, &question(false)).await.unwrap().status, 200);

    simulator.inject(Fault::status(503));
    assert_eq!(client.post_json(CHAT, &question(false)).await.unwrap().status, 503);
    simulator.recover();
    assert_eq!(client.post_json(CHAT, &question(false)).await.unwrap().status, 200);
    assert_eq!(client.header("x-sim-status", "500").post_json(CHAT, &question(false)).await.unwrap().status, 500);
}

#[tokio::test]
async fn connections_break_where_ordered() {
    let (simulator, client) = start(Options::new("a", "m")).await;
    let early = client.clone().header("x-sim-close-after", "0");
    early.post_json(CHAT, &question(false)).await.unwrap_err();
    let late = client.header("x-sim-close-after", "3");
    late.post_json(CHAT, &question(false)).await.unwrap_err();
    let mut stream = late.stream_json(CHAT, &question(true)).await.unwrap();
    for _ in 0..3 {
        assert!(stream.next_event().await.unwrap().is_some());
    }
    stream.next_event().await.unwrap_err();
    assert_eq!(simulator.aborted(), 3);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let (simulator, client) = start(Options { pace: Duration::from_millis(20), ..Options::new("a", "m") }).await;
    let mut stream = client.stream_json(CHAT, &question(true)).await.unwrap();
    assert!(stream.next_event().await.unwrap().is_some());
    assert_eq!(simulator.load().running, 1);
    drop(stream);
    eventually("the request is given up", Duration::from_secs(5), || async {
        (simulator.load().running == 0 && simulator.aborted() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_waits_and_is_reported() {
    let (simulator, client) = start(Options { max_running: 1, ..Options::new("a", "m") }).await;
    let slow = client.clone().header("x-sim-delay-ms", "60000");
    let first = tokio::spawn(async move { slow.post_json(CHAT, &question(false)).await });
    eventually("one runs", Duration::from_secs(5), || async { (simulator.load().running == 1).then_some(()) }).await;
    let behind = client.clone();
    let second = tokio::spawn(async move { behind.post_json(CHAT, &question(false)).await });
    eventually("one waits", Duration::from_secs(5), || async { (simulator.load().waiting == 1).then_some(()) }).await;
    let metrics = client.get("/metrics").await.unwrap().text();
    for line in [
        "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1.0",
        "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 1.0",
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 1.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn the_load_header_comes_when_asked_for() {
    let (simulator, client) = start(Options::new("a", "m")).await;
    simulator.pretend(Load { running: 3, waiting: 2, kv_cache: 0.5 });
    let plain = client.post_json(CHAT, &question(false)).await.unwrap();
    assert_eq!(plain.header("endpoint-load-metrics"), None);
    let asking = client.header("endpoint-load-metrics-format", "TEXT");
    let reply = asking.post_json(CHAT, &question(false)).await.unwrap();
    let expected = "TEXT named_metrics.kv_cache_usage_perc=0.5, named_metrics.num_requests_waiting=2";
    assert_eq!(reply.header("endpoint-load-metrics"), Some(expected));
}

#[tokio::test]
async fn requests_can_be_read_back() {
    let (simulator, client) = start(Options::new("a", "m")).await;
    client.clone().header("x-tenant", "t").post_json(CHAT, &question(false)).await.unwrap();
    client.get("/health").await.unwrap();
    let seen = simulator.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, CHAT);
    assert_eq!(seen[0].header("x-tenant"), Some("t"));
    assert_eq!(seen[0].json(), question(false));
    assert_eq!(client.get("/sim/requests").await.unwrap().json()[0]["path"], CHAT);
    client.send(http::Method::DELETE, "/sim/requests", "").await.unwrap();
    assert!(simulator.requests().is_empty());
}
