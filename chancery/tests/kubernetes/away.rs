//! An API server that goes away and comes back: nothing that is served notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::{Echo, HttpClient, free_port};

use crate::world::{World, answers, condition, route, shop, start_server};

/// What each type of an Envoy's configuration is acknowledged in.
async fn acknowledged(control: &testkit::Chancery) -> Value {
    control.page("/fleet").await.unwrap()["clients"][0]["types"].take()
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
    let (control, envoy) = {
        let world = World::on(&server, "away").await;
        world.apply(&shop(port, app.port)).await;
        let control = world.chancery(&[]).await;
        let envoy = world.envoy(&control, "web").await;
        answers(port, "app.test", 200).await;
        world.status("httproute", "app", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
        (control, envoy)
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
    server.resume().await.unwrap();

    let world = World { server: &server, namespace: "away".to_owned() };
    world.apply(&route("back")).await;
    answers(port, "back.test", 200).await;
    world.status("httproute", "back", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
    over.store(true, Ordering::Relaxed);
    traffic.await.unwrap();
    assert_eq!(bad.load(Ordering::Relaxed), 0, "of {} requests", good.load(Ordering::Relaxed));

    let after = acknowledged(&control).await;
    for unmoved in ["listeners", "clusters", "endpoints"] {
        assert_eq!(after[unmoved], before[unmoved], "nothing was sent again");
    }
    drop(envoy);
}

/// Seconds; more are tried by hand.
fn away_for() -> u64 {
    std::env::var("CHANCERY_TEST_AWAY").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}
