//! Two replicas: both serve, one writes; when it is killed, the other does, and Envoys go over to it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

use crate::world::{LONG, World, answers, condition, route, shop};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_the_other_goes_on() {
    let Some(world) = World::new("replicas").await else { return };
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    world.apply(&shop(port, app.port)).await;
    let mut leader = world.chancery(&["--identity", "first"]).await;
    world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
    let other = world.chancery(&["--identity", "second"]).await;
    let envoy = world.envoy(&other, "web").await;
    answers(port, "app.test", 200).await;
    let lease = world.get("lease", "chancery").await;
    assert_eq!(lease["spec"]["holderIdentity"], "first");

    let moving = envoy_of_both(&leader, &other).await;
    let (before, sent) = (updates(&envoy).await, sent(&other).await);
    leader.kill().await.unwrap();
    let killed = Instant::now();
    world.apply(&route("late")).await;
    answers(port, "late.test", 200).await;
    world.status("httproute", "late", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
    assert!(killed.elapsed() < Duration::from_secs(20), "statuses went on after {:?}", killed.elapsed());
    assert_eq!(updates(&envoy).await, before, "the Envoy of the other replica noticed");
    let late = || async {
        moving.admin("/config_dump?resource=dynamic_route_configs").await.filter(|dump| dump.contains("late.test"))
    };
    eventually("the Envoy of the leader goes over", LONG, late).await;
    let more = self::sent(&other).await - sent;
    assert!(more < 500, "it has everything and was sent {more} bytes of it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_hears_of_the_envoys_of_the_other() {
    let Some(world) = World::new("heard").await else { return };
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    world.apply(&shop(free_port(), 1)).await;
    let _leader = world.chancery(&["--identity", "first"]).await;
    world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
    let other = world.chancery(&["--identity", "second"]).await;
    let envoy = world.envoy(&other, "web").await;
    let words = || async {
        let leases = world.kubectl(&["get", "leases", "-l", "chancery.dev/replica-of=chancery", "-o", "json"]).await;
        (leases.contains("heard/web")).then_some(())
    };
    eventually("the other says that it has an Envoy", LONG, words).await;

    // Somebody else has the port of the new listener, as only Envoy can find out.
    let port = taken.local_addr().unwrap().port();
    let second = json!({"name": "second", "protocol": "HTTP", "port": port});
    let add = json!([{"op": "add", "path": "/spec/listeners/-", "value": second}]).to_string();
    world.kubectl(&["patch", "gateway", "web", "--type=json", "-p", &add]).await;
    let rejected =
        |status: &Value| condition(status, "Programmed") == "False" && status.to_string().contains("Envoy rejects");
    let status = world.status("gateway", "web", "rejected", rejected).await;
    assert!(status.to_string().contains(&port.to_string()), "{status}");
    // An Envoy that is gone speaks against nothing.
    drop(envoy);
    drop(other);
    world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
}

/// The bytes of listeners and clusters that a control plane has sent.
async fn sent(control: &Chancery) -> u64 {
    let metrics = HttpClient::new(control.admin).get("/metrics").await.unwrap().text();
    let of = |kind: &str| -> u64 {
        let name = format!("xds_push_bytes_total{{type=\"{kind}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
    };
    of("listeners") + of("clusters")
}

/// An Envoy that knows both and has chosen the first.
async fn envoy_of_both(first: &Chancery, second: &Chancery) -> Envoy {
    let also = format!("127.0.0.1:{}", second.xds);
    let bootstrap = first.bootstrap("replicas/web", &["--xds", &also]).await.unwrap();
    loop {
        let envoy = Envoy::start(&bootstrap).await.unwrap();
        let clients = first.page("/fleet").await.unwrap()["clients"].take();
        if clients.as_array().is_some_and(|clients| !clients.is_empty()) {
            return envoy;
        }
    }
}

/// How often an Envoy was told of its listeners and clusters.
async fn updates(envoy: &Envoy) -> (u64, u64) {
    (envoy.stat("listener_manager.lds.update_success").await, envoy.stat("cluster_manager.cds.update_success").await)
}
