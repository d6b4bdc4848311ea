//! A thousand API keys on a thousand routes: through Envoy, and what travels.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

use crate::world::{POLICIES, forward, gateway, object, route, service, text};

const MANY: usize = 1000;

fn keys(count: usize) -> String {
    let entries: BTreeMap<String, String> =
        (0..count).map(|key| (format!("client-{key}"), format!("sk-of-client-number-{key}"))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"},
        "stringData": entries})
    .to_string()
}

/// Bytes sent so far, by type.
async fn sent(control: &Chancery) -> BTreeMap<String, u64> {
    let metrics = HttpClient::new(control.admin).get("/metrics").await.unwrap().text();
    let lines = metrics.lines().filter(|line| line.starts_with("xds_push_bytes_total{"));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.split('"').nth(1)?.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_on_a_thousand_routes() {
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let mut all = vec![gateway(port)];
    all.extend(service("app", app.port, None));
    for number in 0..MANY {
        let mut route = route(&format!("r{number}"), &forward("app"));
        route["metadata"]["labels"] = json!({"guarded": "yes"});
        all.push(route);
    }
    let spec = json!({
        "targetSelectors": [{"kind": "HTTPRoute", "matchLabels": {"guarded": "yes"}}],
        "apiKeyAuth": {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-key"]}],
            "forwardClientIDHeader": "x-client", "sanitize": true},
    });
    all.push(object(POLICIES, "SecurityPolicy", "keys", &spec));
    let files = [("all.yaml", text(&all)), ("keys.yaml", keys(MANY))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &files).await.unwrap();
    let envoy = Envoy::start(&control.bootstrap("default/web", &[]).await.unwrap()).await.unwrap();
    let ask = |route: usize, key: Option<usize>| async move {
        let client = HttpClient::new(port).host(&format!("r{route}.test"));
        let client = match key {
            Some(key) => client.header("x-key", &format!("sk-of-client-number-{key}")),
            None => client,
        };
        client.get("/").await.ok()
    };
    eventually("the last route is served", Duration::from_secs(30), || async {
        ask(MANY - 1, Some(0)).await.filter(|reply| reply.status == 200)
    })
    .await;
    for route in [0, 1, 499, 500, 998, 999] {
        assert_eq!(ask(route, None).await.unwrap().status, 401);
        assert_eq!(ask(route, Some(MANY)).await.unwrap().status, 401, "a key that is not there");
        for key in [0, 7, 500, 999] {
            let reply = ask(route, Some(key)).await.unwrap();
            assert_eq!(reply.status, 200, "route {route}, key {key}");
            assert_eq!(reply.json()["headers"]["x-client"][0], format!("client-{key}"));
            assert_eq!(reply.json()["headers"]["x-key"], Value::Null, "it is taken off");
        }
    }

    let before = sent(&control).await;
    control.write("keys.yaml", &keys(MANY + 1)).unwrap();
    eventually("the new key is taken", Duration::from_secs(20), || async {
        ask(500, Some(MANY)).await.filter(|reply| reply.status == 200)
    })
    .await;
    let after = sent(&control).await;
    let grown: BTreeMap<&str, u64> = after
        .iter()
        .map(|(kind, bytes)| (kind.as_str(), bytes - before.get(kind).copied().unwrap_or(0)))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    eprintln!("bytes: {before:?} before, and for one more key: {grown:?}");
    assert_eq!(grown.keys().collect::<Vec<_>>(), [&"extensions"], "the filter that holds the keys, and nothing else");
    assert!(grown["extensions"] < (MANY as u64 + 1) * 64, "no more than the keys: {grown:?}");
    assert_eq!(envoy.stat("listener_manager.listener_modified").await, 0);
}
