//! An API server that goes away and comes back: nothing that is served notices.
//!
//! It stays away for some seconds, or as many as `CHANCERY_TEST_AWAY` says: `make away` tries a minute and prints what it
//! counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::{Chancery, Echo, HttpClient, free_port};

use crate::world::{World, answers, condition, route, shop, start_server};

/// What each type of an Envoy's configuration is acknowledged in.
async fn acknowledged(control: &Chancery) -> Value {
    control.page("/fleet").await.unwrap()["clients"][0]["types"].take()
}

/// How many responses were sent to Envoys, by what they carried.
async fn pushes(control: &Chancery) -> BTreeMap<String, u64> {
    let page = HttpClient::new(control.admin).get("/metrics").await.unwrap().text();
    let lines = page.lines().filter_map(|line| line.strip_prefix("xds_pushes_total{")?.rsplit_once(' '));
    lines.map(|(labels, count)| (labels.to_owned(), count.parse().unwrap())).collect()
}

async fn version(world: &World<'_>, kind: &str, name: &str) -> Value {
    world.get(kind, name).await["metadata"]["resourceVersion"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_comes_back_is_not_noticed() {
    comes_back(&[]).await;
}

/// It forgets its history within seconds and ends every watch soon: what was watched has to be listed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_forgets_its_history_is_not_noticed() {
    comes_back(&["--watch-cache=false", "--etcd-compaction-interval=2s", "--min-request-timeout=3"]).await;
}

async fn comes_back(flags: &[&str]) {
    let Some(mut server) = start_server(flags).await else { return };
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    let (control, envoy, written) = {
        let world = World::on(&server, "away").await;
        world.apply(&shop(port, app.port)).await;
        let control = world.chancery(&[]).await;
        let envoy = world.envoy(&control, "web").await;
        answers(port, "app.test", 200).await;
        world.status("httproute", "app", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
        world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
        (control, envoy, version(&world, "httproute", "app").await)
    };
    let before = acknowledged(&control).await;

    let over = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let traffic = {
        let (over, good, bad) = (over.clone(), good.clone(), bad.clone());
        tokio::spawn(async move {
            let client = HttpClient::new(port).host("app.test");
            while !over.load(Ordering::Relaxed) {
                let ok = client.get("/").await.is_ok_and(|reply| reply.status == 200);
                if ok { &good } else { &bad }.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    server.kill().await.unwrap();
    // Long enough for everything that follows the server to have noticed.
    tokio::time::sleep(Duration::from_secs(away_for())).await;
    let meanwhile = good.load(Ordering::Relaxed);
    server.resume().await.unwrap();

    let world = World { server: &server, namespace: "away".to_owned() };
    // An edit of the time after shows that it is followed again, and is all that Envoys hear of.
    let sent = pushes(&control).await;
    world.apply(&route("back")).await;
    answers(port, "back.test", 200).await;
    world.status("httproute", "back", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
    over.store(true, Ordering::Relaxed);
    traffic.await.unwrap();
    let (good, bad) = (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
    let new = |(labels, count): (String, u64)| {
        let more = count - sent.get(&labels).copied().unwrap_or(0);
        (more > 0).then_some((labels, more))
    };
    let new: BTreeMap<String, u64> = pushes(&control).await.into_iter().filter_map(new).collect();
    eprintln!("away for {} s: {good} requests answered ({meanwhile} meanwhile), {bad} not", away_for());
    eprintln!("responses to Envoys since its return, with one edit: {new:?}");
    assert_eq!(bad, 0, "of {good} requests");
    // What was right is not written again.
    assert_eq!(version(&world, "httproute", "app").await, written);
    let counted = |s: &Value| s["listeners"][0]["attachedRoutes"] == 2 && condition(s, "Programmed") == "True";
    world.status("gateway", "web", "counts the new route and is programmed", counted).await;

    let after = acknowledged(&control).await;
    for unmoved in ["listeners", "clusters", "endpoints"] {
        assert_eq!(after[unmoved], before[unmoved], "nothing was sent again");
    }
    drop(envoy);
}

/// Seconds.
fn away_for() -> u64 {
    std::env::var("CHANCERY_TEST_AWAY").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}
