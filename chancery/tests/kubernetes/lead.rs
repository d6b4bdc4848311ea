//! Two replicas: both serve, one writes; when it is killed, the other does.

use std::time::{Duration, Instant};

use testkit::{Echo, free_port};

use crate::world::{World, answers, condition, route, shop};

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

    let updates = "listener_manager.lds.update_success";
    let before = envoy.stat(updates).await;
    leader.kill().await.unwrap();
    let killed = Instant::now();
    world.apply(&route("late")).await;
    answers(port, "late.test", 200).await;
    world.status("httproute", "late", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
    assert!(killed.elapsed() < Duration::from_secs(20), "statuses went on after {:?}", killed.elapsed());
    assert_eq!(envoy.stat(updates).await, before, "the Envoy of the other replica noticed");
}
