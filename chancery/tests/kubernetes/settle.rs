//! Statuses settle: there comes an end to writing, and others' words stay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{eventually, free_port};

use crate::world::{LONG, World, condition, shop};

const KINDS: &str = "gateways,httproutes,backends.gateway.envoyproxy.io,securitypolicies";

/// The resource version of everything of the test.
async fn versions(world: &World<'_>) -> BTreeMap<String, String> {
    let list: Value = serde_json::from_str(&world.kubectl(&["get", KINDS, "-o", "json"]).await).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            let name = format!("{} {}", text(&item["kind"]), text(&item["metadata"]["name"]));
            (name, text(&item["metadata"]["resourceVersion"]))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_statuses_settle_and_then_nothing_is_written_any_more() {
    let Some(world) = World::new("settled").await else { return };
    let _control = world.chancery(&[]).await;
    world.apply(&shop(free_port(), 1)).await;
    // A policy whose Secret is missing, and one whose target is.
    let policy = |name: &str, target: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: {name}, namespace: NAMESPACE}}\n\
             spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {target}}}], apiKeyAuth: \
             {{credentialRefs: [{{name: missing}}], extractFrom: [{{headers: [x-key]}}]}}}}\n---\n"
        )
    };
    world.apply(&(policy("broken", "app") + &policy("aimless", "missing"))).await;
    let ancestor = |status: &Value| condition(&status["ancestors"][0], "Accepted") == "False";
    world.status("securitypolicy", "broken", "is refused", ancestor).await;
    world.status("gateway", "web", "is accepted", |s| condition(s, "Accepted") == "True").await;
    let begin = Instant::now();
    let mut before = versions(&world).await;
    loop {
        // This is a wait for nothing to happen: no condition can end it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = versions(&world).await;
        if now == before {
            break;
        }
        before = now;
        assert!(begin.elapsed() < LONG, "statuses do not settle");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(versions(&world).await, before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_other_controllers_stay() {
    let Some(world) = World::new("foreign").await else { return };
    let _control = world.chancery(&[]).await;
    world.apply(&shop(free_port(), 1)).await;
    world.status("httproute", "app", "has our entry", |s| s["parents"][0].is_object()).await;
    // Another controller writes the whole list, as all do, and a condition of its own.
    let mut route = world.get("httproute", "app").await;
    let theirs = json!({
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "else"},
        "controllerName": "else.test/controller",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    route["status"]["parents"] = json!([theirs]);
    world.server.kubectl_with(&["replace", "--subresource=status", "-f", "-"], &route.to_string()).await.unwrap();
    let both = |status: &Value| status["parents"].as_array().is_some_and(|parents| parents.len() == 2);
    let status = world.status("httproute", "app", "has both entries", both).await;
    assert_eq!(status["parents"][0], theirs);
    assert_eq!(status["parents"][1]["controllerName"], json!(world.controller()));

    let patch = r#"{"status":{"conditions":[{"type":"Theirs","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    let mut gateway = world.status("gateway", "web", "accepted", |s| condition(s, "Accepted") == "True").await;
    let theirs: Value = serde_json::from_str::<Value>(patch).unwrap()["status"]["conditions"][0].take();
    gateway["conditions"].as_array_mut().unwrap().push(theirs);
    let patch = json!({"status": {"conditions": gateway["conditions"]}}).to_string();
    world.kubectl(&["patch", "gateway", "web", "--subresource=status", "--type=merge", "-p", &patch]).await;
    // An edit makes us write.
    world
        .kubectl(&[
            "patch",
            "gateway",
            "web",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/listeners/0/name","value":"renamed"}]"#,
        ])
        .await;
    let renamed = |s: &Value| s["listeners"][0]["name"] == "renamed" && s["listeners"].as_array().unwrap().len() == 1;
    let status = world.status("gateway", "web", "has the new listener alone", renamed).await;
    assert_eq!((condition(&status, "Theirs"), condition(&status, "Accepted")), ("True", "True"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_see_is_an_event() {
    let Some(world) = World::new("events").await else { return };
    let _control = world.chancery(&[]).await;
    world.apply(&shop(free_port(), 1)).await;
    world.delete("backends.gateway.envoyproxy.io", "app").await;
    let ask = || async {
        let events: Value = serde_json::from_str(&world.kubectl(&["get", "events", "-o", "json"]).await).unwrap();
        let items = events["items"].as_array().unwrap().clone();
        items.into_iter().find(|event| event["reason"] == "BackendNotFound")
    };
    let event = eventually("an event about the missing backend", LONG, ask).await;
    assert_eq!(event["involvedObject"]["kind"], "HTTPRoute");
    let described = world.kubectl(&["describe", "httproute", "app"]).await;
    assert!(described.contains("BackendNotFound"), "{described}");
}
