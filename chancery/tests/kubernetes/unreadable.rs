//! What the definitions take and nobody here understands: its author is told where he looks, and nothing is let through.

use serde_json::Value;
use testkit::{Echo, free_port};

use crate::world::{World, answers, condition, route, shop};

/// A route of which one number is none that the field can have; the definition has no bounds for it.
fn unreadable(name: &str) -> String {
    let filter = "  rules:\n  - filters:\n    - type: ExternalAuth\n      externalAuth: {protocol: HTTP, http: {}, \
         forwardBody: {maxSize: -1}, backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: app, port: 1}}\n    \
         backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: app}]\n";
    let (before, _) = route(name).split_once("  rules:").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    before + filter
}

fn reason(holder: &Value, kind: &str) -> (String, i64) {
    let conditions = holder["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null);
    (found["reason"].as_str().unwrap_or_default().to_owned(), found["observedGeneration"].as_i64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_read_is_not_accepted_and_the_last_good_one_goes_on() {
    let Some(world) = World::new("unreadable").await else { return };
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let control = world.chancery(&[]).await;
    world.apply(&shop(port, app.port)).await;
    let _envoy = world.envoy(&control, "web").await;
    answers(port, "app.test", 200).await;
    let accepted = |status: &Value, is: &str| condition(&status["parents"][0], "Accepted") == is;
    world.status("httproute", "app", "is accepted", |s| accepted(s, "True")).await;

    world.apply(&unreadable("app")).await;
    let status = world.status("httproute", "app", "is not accepted", |s| accepted(s, "False")).await;
    assert_eq!(reason(&status["parents"][0], "Accepted"), ("UnsupportedValue".to_owned(), 2));
    let said = status.to_string();
    assert!(said.contains("maxSize") && said.contains("the last good version stays in force"), "{said}");
    answers(port, "app.test", 200).await;

    world.apply(&route("app")).await;
    let status = world.status("httproute", "app", "is accepted again", |s| accepted(s, "True")).await;
    assert_eq!(reason(&status["parents"][0], "Accepted").1, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_never_be_read_says_so_and_lets_nothing_through() {
    let Some(world) = World::new("unread").await else { return };
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let control = world.chancery(&[]).await;
    world.apply(&shop(port, app.port)).await;
    let _envoy = world.envoy(&control, "web").await;
    answers(port, "app.test", 200).await;

    world.apply(&unreadable("never")).await;
    let status = world
        .status("httproute", "never", "is not accepted", |s| condition(&s["parents"][0], "Accepted") == "False")
        .await;
    assert_eq!(reason(&status["parents"][0], "Accepted"), ("UnsupportedValue".to_owned(), 1));
    answers(port, "never.test", 404).await;
    let gateway = world.get("gateway", "web").await;
    assert_eq!(gateway["status"]["listeners"][0]["attachedRoutes"], 1, "{gateway}");

    // A guard that nobody understands is closed.
    world
        .apply(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: guard, namespace: NAMESPACE}\n\
             spec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]\n  \
             extAuth:\n    http:\n      backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: app}]\n      \
             backendSettings: {tcpKeepalive: {probes: -1}}\n",
        )
        .await;
    let refused = |status: &Value| condition(&status["ancestors"][0], "Accepted") == "False";
    let status = world.status("securitypolicy", "guard", "is not accepted", refused).await;
    assert_eq!(reason(&status["ancestors"][0], "Accepted").0, "Invalid", "{status}");
    answers(port, "app.test", 500).await;
    world.delete("securitypolicy", "guard").await;
    answers(port, "app.test", 200).await;
}
