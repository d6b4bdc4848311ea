//! Limits as they are edited, restarted and unreachable: what was spent stays spent.

use std::time::{Duration, SystemTime};

use inference_sim::{Options, Simulator};
use testkit::{eventually, free_port};

use crate::gateway::{CHAT, Gateway, backend, budget, gateway, limits, question, route};

struct Lab {
    base: String,
    port: u16,
    _server: Simulator,
}

impl Lab {
    async fn new() -> Self {
        let options = Options { completion_tokens: 40, ..Options::new("one", "m") };
        let server = Simulator::start(options).await.unwrap();
        let port = free_port();
        let costs = ["metadataKey: all, type: TotalToken", "metadataKey: out, type: OutputToken"];
        let base = gateway(port) + &backend("one", &server, "OpenAI") + &route(&[("m", "one")], &costs);
        Self { base, port, _server: server }
    }

    async fn start(&self, policy: &str, options: &[&str]) -> Gateway {
        let gateway = Gateway::start("default/ai", self.port, &(self.base.clone() + policy), options).await;
        gateway.ready(CHAT, &question("m", 1, false)).await;
        gateway
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_leaves_every_counter_where_it_is() {
    let lab = Lab::new().await;
    let (all, out) = (budget(10_000, "all"), budget(10_000, "out"));
    let gateway = lab.start(&limits(&[&all, &out]), &[]).await;
    assert_eq!(gateway.ask("alice", &question("m", 10, false)).await.status, 200);
    assert_eq!(gateway.spent("alice").await, [(0, 50), (1, 40)]);

    // A new rule before the two, another limit, and the other order.
    let by_header = "limit: {requests: 9, unit: Year}, clientSelectors: [{headers: [{name: x-org, value: one}]}]";
    type Step<'a> = (&'a [&'a str], Vec<(usize, u64)>);
    let steps: [Step<'_>; 4] = [
        (&[by_header, &all, &out], vec![(1, 50), (2, 40)]),
        (&[&out, &all], vec![(0, 40), (1, 50)]),
        (&[&out, &budget(90, "all")], vec![(0, 40), (1, 50)]),
        (&[&out, &budget(50, "all")], vec![(0, 40), (1, 50)]),
    ];
    for (rules, expected) in steps {
        gateway.control.write("all.yaml", &(lab.base.clone() + &limits(rules))).unwrap();
        eventually("the rules are in force", Duration::from_secs(10), || async {
            (gateway.spent("alice").await == expected).then_some(())
        })
        .await;
    }
    // The lower limit holds against what was spent under the higher one.
    eventually("the limit is in force", Duration::from_secs(10), || async {
        (gateway.ask("alice", &question("m", 10, false)).await.status == 429).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_control_plane_goes_on_counting() {
    let lab = Lab::new().await;
    let state = tempfile::tempdir().unwrap();
    let mut gateway =
        lab.start(&limits(&[&budget(100, "all")]), &["--state-dir", state.path().to_str().unwrap()]).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask("alice", &question("m", 10, false)).await.status, 200);
    }
    assert_eq!(gateway.spent("alice").await, [(0, 100)]);
    let settled = SystemTime::now();
    eventually("the counters are saved", Duration::from_secs(10), || async {
        let written = std::fs::metadata(state.path().join("limits.counters")).ok()?.modified().ok()?;
        (written > settled).then_some(())
    })
    .await;
    gateway.control.restart().await.unwrap();
    assert_eq!(gateway.spent("alice").await, [(0, 100)]);
    // Envoy finds the service again by itself.
    eventually("the limit is in force", Duration::from_secs(10), || async {
        (gateway.ask("alice", &question("m", 10, false)).await.status == 429).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_a_policy_decides() {
    for (annotations, status) in [("", 200), (", annotations: {chancery.dev/limits-unreachable: deny}", 500)] {
        let lab = Lab::new().await;
        let policy = limits(&[&budget(1000, "all")]).replace(
            "{name: limits, namespace: default}",
            &format!("{{name: limits, namespace: default{annotations}}}"),
        );
        let mut gateway = lab.start(&policy, &[]).await;
        assert_eq!(gateway.ask("alice", &question("m", 10, false)).await.status, 200);
        gateway.control.kill().await.unwrap();
        let reply = gateway.ask("alice", &question("m", 10, false)).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        // It comes back, and limits hold again.
        gateway.control.restart().await.unwrap();
        eventually("limits hold again", Duration::from_secs(10), || async {
            let reply = gateway.ask("bob", &question("m", 10, false)).await;
            (reply.status == 200 && reply.header("x-ratelimit-limit").is_some()).then_some(())
        })
        .await;
    }
}
