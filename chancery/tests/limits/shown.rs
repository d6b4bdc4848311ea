//! Where people look at limits: the command, and the dashboards.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use inference_sim::{Options, Simulator};
use regex::Regex;
use testkit::{HttpClient, eventually, free_port};

use crate::gateway::{CHAT, Gateway, backend, gateway, question, route};

const LIMIT: &str = "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: budget, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ai}]
  rateLimit:
    type: Global
    global:
      rules:
      - clientSelectors: [{headers: [{name: x-user-id, type: Distinct}]}]
        limit: {requests: 1000, unit: Hour}
        cost:
          request: {from: Number, number: 0}
          response: {from: Metadata, metadata: {namespace: io.envoy.ai_gateway, key: total}}
";

async fn start() -> (Gateway, Simulator) {
    let options =
        Options { completion_tokens: 20, cached_tokens: 4, pace: Duration::from_millis(2), ..Options::new("one", "m") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let costs = [
        "metadataKey: total, type: TotalToken",
        "metadataKey: microdollars, type: CEL, cel: \"input_tokens * 0.5 + output_tokens * 2.0\"",
    ];
    let manifests = gateway(port) + &backend("one", &server, "OpenAI") + &route(&[("m", "one")], &costs) + LIMIT;
    let gateway = Gateway::start("default/ai", port, &manifests, &[]).await;
    gateway.ready(CHAT, &question("m", 10, false)).await;
    gateway.stream("alice", &question("m", 10, true)).await.events().await.unwrap();
    gateway.ask("bob", &question("m", 10, false)).await;
    (gateway, server)
}

async fn limits(gateway: &Gateway, options: &[&str]) -> String {
    let admin = format!("127.0.0.1:{}", gateway.control.admin);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_chancery"));
    let output = command.args(["limits", "--admin", &admin]).args(options).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_who_has_spent_what_and_starts_counters_anew() {
    let (gateway, _server) = start().await;
    assert_eq!(gateway.spent("alice").await, [(0, 30)]);
    assert_eq!(gateway.spent("bob").await, [(0, 30)]);
    let all = limits(&gateway, &[]).await;
    let lines = |user: &str| all.lines().filter(|line| line.contains(user)).map(str::to_owned).collect::<Vec<_>>();
    for user in ["alice", "bob"] {
        let [line] = &lines(user)[..] else { panic!("{all}") };
        for part in ["default/budget", "30", "1000"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let json: serde_json::Value = serde_json::from_str(&limits(&gateway, &["--json"]).await).unwrap();
    assert!(json["counters"].as_array().is_some_and(|counters| counters.len() >= 2), "{json}");
    let some = limits(&gateway, &["--contains", "alice"]).await;
    assert!(some.contains("alice") && !some.contains("bob"), "{some}");
    limits(&gateway, &["--contains", "alice", "--reset"]).await;
    assert_eq!(gateway.spent("bob").await, [(0, 30)], "another counter stands");
    let after = limits(&gateway, &["--contains", "alice", "--json"]).await;
    assert!(!after.contains("\"spent\":30") && !after.contains("\"spent\": 30"), "{after}");
}

/// The names of everything that the panels of a dashboard ask for.
fn asked_for(dashboard: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dashboards").join(dashboard);
    let text = std::fs::read_to_string(path).unwrap();
    let names = Regex::new(r"\b(?:xds|ratelimit|chancery|envoy)_[a-z0-9_]+").unwrap();
    let expressions = Regex::new(r#""expr": "((?:[^"\\]|\\.)*)""#).unwrap();
    let found = expressions.captures_iter(&text).flat_map(|found| {
        names.find_iter(found.get(1).unwrap().as_str()).map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    });
    found.collect()
}

fn names(metrics: &str) -> BTreeSet<String> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_dashboards_ask_for_is_there() {
    let (mut gateway, _server) = start().await;
    let mut ours = names(&HttpClient::new(gateway.control.admin).get("/metrics").await.unwrap().text());
    // They are there once a stream was ended from our side, and once an Envoy rejected something: nothing here does.
    ours.extend(["xds_streams_ended_total", "xds_set_aside"].map(str::to_owned));
    // What counts failures to ask the service is there once one has failed.
    gateway.control.kill().await.unwrap();
    for dashboard in ["genai.json", "xds.json"] {
        let asked = asked_for(dashboard);
        assert!(asked.len() > 5, "{dashboard}: {asked:?}");
        eventually(&format!("everything of {dashboard} is there"), Duration::from_secs(15), || async {
            gateway.ask("carol", &question("m", 10, false)).await;
            let there = names(&gateway.envoy.admin("/stats/prometheus").await?);
            let missing: Vec<&String> =
                asked.iter().filter(|name| !there.contains(*name) && !ours.contains(*name)).collect();
            if !missing.is_empty() {
                eprintln!("{dashboard}: not there: {missing:?}");
            }
            missing.is_empty().then_some(())
        })
        .await;
    }
}
