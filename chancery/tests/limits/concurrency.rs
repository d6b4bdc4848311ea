//! Many clients at once on one budget, with costs that nobody can tell beforehand.

use std::sync::Arc;
use std::time::Duration;

use inference_sim::{Options, Simulator};
use serde_json::json;
use testkit::free_port;

use crate::gateway::{CHAT, Gateway, backend, budget, gateway, limits, question, route};

const CLIENTS: u64 = 200;
const BUDGET: u64 = 60_000;

/// Each client asks until it is turned away. What they were told they spent, whole answers and streams together.
async fn spend(gateway: &Arc<Gateway>, user: &'static str) -> u64 {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move {
                let mut spent = 0;
                for round in 0.. {
                    let words = 20 + usize::try_from((client * 7919 + round * 104_729) % 160).unwrap();
                    let streams = (client + round) % 2 == 0;
                    let mut body = question("m", words, streams);
                    if streams {
                        body["stream_options"] = json!({"include_usage": true});
                    }
                    let usage = if streams {
                        let mut reply = gateway.stream(user, &body).await;
                        if reply.status == 429 {
                            break;
                        }
                        assert_eq!(reply.status, 200);
                        let events = reply.events().await.unwrap();
                        let last = events.iter().rev().find(|event| event.json()["usage"].is_object()).unwrap();
                        last.json()["usage"]["total_tokens"].as_u64().unwrap()
                    } else {
                        let reply = gateway.ask(user, &body).await;
                        if reply.status == 429 {
                            break;
                        }
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        reply.json()["usage"]["total_tokens"].as_u64().unwrap()
                    };
                    spent += usage;
                }
                spent
            })
        })
        .collect();
    let mut spent = 0;
    for client in clients {
        spent += client.await.unwrap();
    }
    spent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_stay_within_a_budget() {
    let options = Options {
        completion_tokens: 40,
        first_token: Duration::from_millis(20),
        max_running: 1000,
        ..Options::new("one", "m")
    };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let manifests = gateway(port)
        + &backend("one", &server, "OpenAI")
        + &route(&[("m", "one")], &["metadataKey: all, type: TotalToken"])
        + &limits(&[&budget(BUDGET, "all")]);
    let gateway = Arc::new(Gateway::start("default/ai", port, &manifests, &[]).await);
    gateway.ready(CHAT, &question("m", 1, false)).await;
    let mut spent = spend(&gateway, "crowd").await;
    assert_eq!(gateway.spent("crowd").await, [(0, spent)], "exact");
    assert!(spent <= BUDGET + BUDGET / 20, "{spent} of {BUDGET}");
    // Who was turned away while others held the rest may still use it, to its end.
    loop {
        let reply = gateway.ask("crowd", &question("m", 60, false)).await;
        if reply.status == 429 {
            break;
        }
        spent += reply.json()["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(gateway.spent("crowd").await, [(0, spent)]);
    }
    assert!((BUDGET..=BUDGET + BUDGET / 20).contains(&spent), "{spent} of {BUDGET}");
}
