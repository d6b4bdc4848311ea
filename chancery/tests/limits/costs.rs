//! What requests cost, by what the counters say afterwards: every API, whole and as a stream, to its end and not.

use std::time::Duration;

use inference_sim::{Fault, Options, Simulator};
use serde_json::{Value, json};
use testkit::{eventually, free_port};

use crate::gateway::{CHAT, Gateway, backend, budget, gateway, limits, question, route};

const COSTS: [&str; 7] = [
    "metadataKey: in, type: InputToken",
    "metadataKey: out, type: OutputToken",
    "metadataKey: all, type: TotalToken",
    "metadataKey: cached, type: CachedInputToken",
    "metadataKey: thought, type: ReasoningToken",
    "metadataKey: made, type: CacheCreationInputToken",
    "metadataKey: price, type: CEL, cel: \"model == 'm' && backend == 'one.default' ? input_tokens * 2u + output_tokens * 10u : 1u\"",
];

async fn start(options: Options) -> (Simulator, Gateway) {
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let budgets: Vec<String> =
        ["in", "out", "all", "cached", "thought", "made", "price"].iter().map(|key| budget(1_000_000, key)).collect();
    let budgets: Vec<&str> = budgets.iter().map(String::as_str).collect();
    let manifests = gateway(port)
        + &backend("one", &server, "OpenAI")
        + &backend("claude", &server, "Anthropic")
        + &backend("co", &server, "Cohere")
        + &route(&[("m", "one"), ("c", "claude"), ("r", "co")], &COSTS)
        + &limits(&budgets);
    let gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
    gateway.ready(CHAT, &question("m", 1, false)).await;
    (server, gateway)
}

fn options() -> Options {
    Options {
        completion_tokens: 20,
        reasoning_tokens: 5,
        cached_tokens: 4,
        models: vec!["m".into(), "c".into(), "r".into()],
        ..Options::new("one", "m")
    }
}

/// In the order of [`COSTS`].
fn costs(spent: &[(usize, u64)]) -> Vec<u64> {
    spent.iter().map(|(_, spent)| *spent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_cost_what_their_usage_says() {
    let (_server, gateway) = start(options()).await;
    let ten = ["word"; 10].join(" ");
    let asked: [(&str, &str, Value, [u64; 7]); 5] = [
        ("chat", CHAT, question("m", 10, false), [10, 20, 30, 4, 5, 0, 220]),
        ("completion", "/v1/completions", json!({"model": "m", "prompt": ten}), [10, 20, 30, 4, 5, 0, 220]),
        ("responses", "/v1/responses", json!({"model": "m", "input": ten}), [10, 20, 30, 4, 5, 0, 220]),
        ("embedding", "/v1/embeddings", json!({"model": "m", "input": ten}), [10, 0, 10, 0, 0, 0, 20]),
        (
            "messages",
            "/v1/messages",
            json!({"model": "c", "max_tokens": 100, "messages": [{"role": "user", "content": ten}]}),
            [10, 20, 30, 4, 0, 0, 1],
        ),
    ];
    for (user, path, body, expected) in asked {
        gateway.ready(path, &body).await;
        let reply = gateway.client(user).post_json(path, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{user}: {}", reply.text());
        assert_eq!(costs(&gateway.spent(user).await), expected, "{user}: {}", reply.text());
    }
    // Who only counts spends nothing.
    let body = json!({"model": "c", "messages": [{"role": "user", "content": ten}]});
    let path = "/anthropic/v1/messages/count_tokens";
    gateway.ready(path, &body).await;
    assert_eq!(gateway.client("counter").post_json(path, &body).await.unwrap().status, 200);
    assert_eq!(costs(&gateway.spent("counter").await), [0; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_cost_what_their_usage_says_whatever_the_client_asks_for() {
    let (server, gateway) = start(options()).await;
    let ten = ["word"; 10].join(" ");
    let chat = |stream_options: Value| {
        let mut body = question("m", 10, true);
        body["stream_options"] = stream_options;
        body
    };
    let evasions = [
        ("absent", question("m", 10, true)),
        ("false", chat(json!({"include_usage": false}))),
        ("null", chat(Value::Null)),
        ("empty", chat(json!({}))),
        ("nested", chat(json!({"x": {"include_usage": true}}))),
        ("asked", chat(json!({"include_usage": true}))),
        ("continuous", chat(json!({"include_usage": true, "continuous_usage_stats": true}))),
    ];
    for (user, body) in evasions {
        let mut reply = gateway.stream(user, &body).await;
        assert_eq!(reply.status, 200, "{user}");
        let events = reply.events().await.unwrap();
        assert_eq!(events.last().unwrap().data, "[DONE]", "{user}");
        // Who asked for no usage sees none of it.
        let told = events.iter().any(|event| event.data != "[DONE]" && event.json()["usage"].is_object());
        assert_eq!(told, ["asked", "continuous"].contains(&user), "{user}: {events:?}");
        assert_eq!(costs(&gateway.spent(user).await), [10, 20, 30, 4, 5, 0, 220], "{user}: {events:?}");
    }
    // The server is told to end with the usage, and keeps what else was asked of it.
    let seen: Vec<Value> = server.requests().iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let streams = seen.iter().filter(|body| body["stream"] == true);
    assert!(streams.clone().all(|body| body["stream_options"]["include_usage"] == true), "{seen:?}");
    assert!(streams.clone().any(|body| body["stream_options"]["continuous_usage_stats"] == true));
    assert!(streams.clone().any(|body| body["stream_options"]["x"]["include_usage"] == true));

    let responses = json!({"model": "m", "input": ten, "stream": true});
    let messages =
        json!({"model": "c", "max_tokens": 100, "stream": true, "messages": [{"role": "user", "content": ten}]});
    for (user, path, body, expected) in [
        ("responses", "/v1/responses", responses, [10, 20, 30, 4, 5, 0, 220]),
        ("messages", "/v1/messages", messages, [10, 20, 30, 4, 0, 0, 1]),
    ] {
        gateway.ready(path, &body).await;
        let mut reply = gateway.client(user).stream_json(path, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{user}");
        let events = reply.events().await.unwrap();
        assert_eq!(costs(&gateway.spent(user).await), expected, "{user}: {events:?}");
    }
}

/// Whoever hangs up pays for what came: exactly where the server says so as it goes, about a token an event elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_hung_up_cost_what_came() {
    let options = Options {
        completion_tokens: 10_000,
        pace: Duration::from_millis(2),
        models: vec!["m".into(), "c".into()],
        ..Options::new("one", "m")
    };
    let (server, gateway) = start(options).await;
    let mut continuous = question("m", 10, true);
    continuous["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    for (user, body, exact) in [("exact", continuous, true), ("about", question("m", 10, true), false)] {
        let before = server.aborted();
        let mut reply = gateway.stream(user, &body).await;
        let mut tokens = 0;
        for _ in 0..100 {
            let event = reply.next_event().await.unwrap().unwrap();
            if exact {
                tokens = event.json()["usage"]["completion_tokens"].as_u64().unwrap();
            } else {
                tokens += 1;
            }
        }
        drop(reply);
        eventually("the server is left", Duration::from_secs(5), || async {
            (server.aborted() > before).then_some(())
        })
        .await;
        let spent = costs(&gateway.spent(user).await);
        // A few more may have passed between the last one that was read and the end.
        let output = spent[1];
        assert!((tokens * 7 / 8..tokens + 60).contains(&output), "{user}: {output} for {tokens}");
        if exact {
            assert_eq!((spent[0], spent[2]), (10, 10 + output));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_costs_nothing() {
    let (server, gateway) = start(options()).await;
    for _ in 0..3 {
        server.inject(Fault { status: Some(503), ..Fault::default() });
        assert_eq!(gateway.ask("unlucky", &question("m", 10, false)).await.status, 503);
        server.recover();
    }
    assert_eq!(costs(&gateway.spent("unlucky").await), [0; 7]);
}
