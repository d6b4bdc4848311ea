//! Applied is served, deleted is not, and the statuses say so.

use std::net::TcpListener;

use serde_json::json;
use testkit::{Echo, eventually, free_port};

use crate::world::{LONG, World, answers, condition, shop};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_served_and_what_is_deleted_is_not() {
    let Some(world) = World::new("applied").await else { return };
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let control = world.chancery(&[]).await;
    world.apply(&shop(port, app.port)).await;
    let envoy = world.envoy(&control, "web").await;
    assert_eq!(answers(port, "app.test", 200).await.json()["name"], "app");

    let class = world.status("gatewayclass", "applied", "accepted", |s| condition(s, "Accepted") == "True").await;
    assert_eq!(class["conditions"][0]["observedGeneration"], 1);
    let gateway = world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 1, "{gateway}");
    let route = world.status("httproute", "app", "has a parent", |s| s["parents"][0].is_object()).await;
    let parent = &route["parents"][0];
    assert_eq!(parent["controllerName"], json!(world.controller()));
    assert_eq!(parent["parentRef"]["kind"], "Gateway");
    assert_eq!((condition(parent, "Accepted"), condition(parent, "ResolvedRefs")), ("True", "True"), "{route}");

    world.delete("httproute", "app").await;
    answers(port, "app.test", 404).await;
    world.status("gateway", "web", "no route", |s| s["listeners"][0]["attachedRoutes"] == 0).await;
    drop(envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_another_controller_is_not_touched() {
    let Some(world) = World::new("others").await else { return };
    let port = free_port();
    world
        .apply(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: others-else}\n\
             spec: {controllerName: else.test/controller}\n",
        )
        .await;
    let others = shop(port, 1).replace("gatewayClassName: NAMESPACE", "gatewayClassName: others-else");
    world.apply(&others).await;
    let unclassed = others.replace("name: web", "name: unclassed").replace("others-else", "nobody-has-it");
    world.apply(&unclassed).await;
    let control = world.chancery(&[]).await;
    // Something of ours, so that there is something to wait for.
    world.apply(&shop(free_port(), 1).replace("name: web", "name: ours").replace("name: app", "name: own")).await;
    world.status("gateway", "ours", "accepted", |s| condition(s, "Accepted") == "True").await;
    for name in ["web", "unclassed"] {
        let status = world.get("gateway", name).await["status"].take();
        assert_eq!(condition(&status, "Accepted"), "Unknown", "{status}");
    }
    let snapshot = control.page("/snapshot").await.unwrap();
    // What belongs to no Gateway has no name.
    let gateways: Vec<&String> = snapshot.as_object().unwrap().keys().filter(|name| !name.is_empty()).collect();
    assert_eq!(gateways, ["others/ours"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_programmed_while_an_envoy_rejects_it() {
    let Some(world) = World::new("rejected").await else { return };
    let (port, taken) = (free_port(), TcpListener::bind(("0.0.0.0", 0)).unwrap());
    let control = world.chancery(&[]).await;
    world.apply(&shop(port, 1)).await;
    let _envoy = world.envoy(&control, "web").await;
    world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;

    // Somebody else has the port of the new listener, as only Envoy can find out.
    let second = taken.local_addr().unwrap().port().to_string();
    let add = json!([{"op": "add", "path": "/spec/listeners/-",
        "value": {"name": "second", "protocol": "HTTP", "port": taken.local_addr().unwrap().port()}}]);
    world.kubectl(&["patch", "gateway", "web", "--type=json", "-p", &add.to_string()]).await;
    let status = world.status("gateway", "web", "rejected", |s| condition(s, "Programmed") == "False").await;
    let programmed = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Programmed").unwrap();
    assert_eq!((&programmed["reason"], &programmed["observedGeneration"]), (&json!("Invalid"), &json!(2)), "{status}");
    assert!(programmed["message"].as_str().unwrap().contains(&second), "{status}");
    assert_eq!(condition(&status, "Accepted"), "True", "the author did nothing wrong");
    let events = || async { Some(world.kubectl(&["get", "events"]).await).filter(|e| e.contains("RejectedByEnvoy")) };
    eventually("an event says so", LONG, events).await;

    world
        .kubectl(&["patch", "gateway", "web", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/listeners/1"}]"#])
        .await;
    world.status("gateway", "web", "programmed again", |s| condition(s, "Programmed") == "True").await;
}
