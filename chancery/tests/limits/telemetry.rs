//! What can be seen of requests to models: statistics and the access log.

use std::time::Duration;

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::{eventually, free_port};

use crate::gateway::{CHAT, Gateway, backend, gateway, question, route};

const GUIDE: &str = include_str!("../../../docs/guide/limits.md");

/// The document of the guide that has a line.
fn of_guide(line: &str) -> &'static str {
    let blocks = GUIDE.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.into_iter().find(|block| block.contains(line)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_costs_and_times_are_seen() {
    let options =
        Options { completion_tokens: 20, cached_tokens: 4, pace: Duration::from_millis(2), ..Options::new("one", "m") };
    let server = Simulator::start(options).await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let proxy = of_guide("kind: EnvoyProxy").replace("/dev/stdout", log.path().to_str().unwrap());
    let port = free_port();
    let parameters = "gatewayClassName: chancery
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: logs}}";
    let manifests = gateway(port).replace("gatewayClassName: chancery", parameters)
        + &backend("one", &server, "OpenAI")
        + &route(
            &[("m", "one")],
            &["metadataKey: microdollars, type: CEL, cel: \"input_tokens * 0.5 + output_tokens * 2.0\""],
        )
        + "---\n"
        + &proxy;
    let gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
    gateway.ready(CHAT, &question("m", 10, false)).await;
    let mut reply = gateway.stream("alice", &question("m", 10, true)).await;
    reply.events().await.unwrap();

    let label = "{gen_ai_request_model=\"m\",gen_ai_backend=\"one.default\",gen_ai_route=\"default/models\"}";
    let expected = [
        ("requests", 2),
        ("input_tokens", 20),
        ("output_tokens", 40),
        ("cached_input_tokens", 8),
        ("cost_microdollars", 90),
        ("time_to_first_token_count", 1),
        ("time_per_output_token_count", 1),
    ];
    for (name, value) in expected {
        eventually("the statistics are there", Duration::from_secs(10), || async {
            let text = gateway.envoy.admin("/stats/prometheus?usedonly").await?;
            text.lines().any(|line| line == format!("envoy_gen_ai_{name}{label} {value}")).then_some(())
        })
        .await;
    }
    let lines: Vec<Value> = eventually("the log is written", Duration::from_secs(15), || async {
        let text = std::fs::read_to_string(log.path()).ok()?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let counted = lines.iter().filter(|line| line["gen_ai.usage.output_tokens"] == 20).count();
        (counted == 2).then_some(lines)
    })
    .await;
    let line = lines.last().unwrap();
    let seen = [
        "gen_ai.request.model",
        "gen_ai.backend",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.cached_input_tokens",
        "cost_microdollars",
        "retries",
    ]
    .map(|name| line[name].clone());
    assert_eq!(json!(seen), json!(["m", "one.default", 10, 4, 45, 1]), "{line}");
}
