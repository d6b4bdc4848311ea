//! Delta: subscriptions, nonces, versions of a reconnecting client.

use super::*;

fn rig() -> Rig {
    Rig::new(Variant::Delta)
}

fn versions(reply: &Reply) -> Versions {
    let names = reply.resources.iter().map(|(name, _)| name.clone());
    names.zip(reply.versions.iter().cloned()).collect::<Vec<_>>().into()
}

fn version_of(name: &str, version: &str) -> Versions {
    vec![(name.to_owned(), version.to_owned())].into()
}

#[test]
fn p3_a_type_must_be_said_and_fit() {
    let group = Arc::new(Group::new(GroupKey::new("a/b"), Apart::default()));
    let mut aggregated = Stream::new(Variant::Delta, None, group.clone(), 10);
    let unsaid = aggregated.delta(&DeltaRequest::default()).unwrap_err();
    assert_eq!(unsaid.grpc_code(), 3);
    let mut of_clusters = Stream::new(Variant::Delta, Some(CDS), group, 10);
    assert!(of_clusters.delta(&DeltaRequest::default()).is_ok());
    let other = DeltaRequest { type_url: LDS.type_url().into(), ..Default::default() };
    assert_eq!(of_clusters.delta(&other).unwrap_err().grpc_code(), 3);
}

#[test]
fn p4_an_unknown_type_disturbs_nobody() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    let unknown = DeltaRequest { type_url: "type.googleapis.com/of.Another".into(), ..Default::default() };
    assert_eq!(rig.stream.delta(&unknown), Ok(None));
    rig.subscribe(CDS, &[]);
    assert_eq!(rig.expect(CDS).contents(), ["a=1"]);
}

#[test]
fn n1_nonces_are_unique_in_a_stream() {
    let mut rig = rig();
    let mut seen = std::collections::BTreeSet::new();
    rig.set(&[(CDS, "a", "0")]);
    rig.subscribe(CDS, &[]);
    for round in 1..20 {
        let reply = rig.expect_and_ack(CDS, &[]);
        assert!(seen.insert(reply.nonce));
        if round % 3 == 0 {
            rig.subscribe(CDS, &["*"]);
        } else {
            rig.set(&[(CDS, "a", &round.to_string())]);
        }
    }
}

#[test]
fn n2_trap_16_the_first_request_is_one_whatever_nonce_it_carries() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.delta(CDS, |request| request.nonce = "41".into());
    assert_eq!(rig.expect(CDS).contents(), ["a=1"]);
}

#[test]
fn n6_trap_3_a_stale_nonce_does_not_lose_subscriptions() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1"), (EDS, "c", "1")]);
    rig.subscribe(EDS, &["a"]);
    let first = rig.expect(EDS);
    rig.delta(EDS, |request| {
        request.nonce = "stale".into();
        request.subscribe = strings(&["b"]).into();
    });
    rig.ack(&first, &[]);
    assert_eq!(rig.expect_and_ack(EDS, &[]).contents(), ["b=1"]);
    rig.quiet();
}

#[test]
fn n7_trap_3_a_rejection_may_subscribe_and_unsubscribe() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1"), (EDS, "c", "1")]);
    rig.subscribe(EDS, &["a", "c"]);
    let first = rig.expect(EDS);
    rig.delta(EDS, |request| {
        request.nonce.clone_from(&first.nonce);
        request.error = Some(status("a is bad"));
        request.subscribe = strings(&["b"]).into();
        request.unsubscribe = strings(&["c"]);
    });
    assert_eq!(rig.expect_and_ack(EDS, &[]).contents(), ["b=1"]);
    rig.quiet();
}

#[test]
fn v2_v3_versions_follow_the_content_on_every_server() {
    let mut one = rig();
    one.set(&[(CDS, "a", "0"), (CDS, "b", "1")]);
    one.set(&[(CDS, "a", "1")]);
    let mut two = rig();
    two.set(&[(CDS, "b", "1"), (CDS, "a", "1")]);
    one.subscribe(CDS, &[]);
    two.subscribe(CDS, &[]);
    let (one, two) = (one.expect(CDS), two.expect(CDS));
    assert_eq!((one.versions, one.version), (two.versions, two.version));
}

#[test]
fn a8_an_acknowledgement_causes_nothing() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.subscribe(CDS, &[]);
    let reply = rig.expect_and_ack(CDS, &[]);
    rig.quiet();
    rig.ack(&reply, &[]);
    rig.quiet();
}

#[test]
fn s3_wildcard_then_name_then_neither() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    rig.subscribe(CDS, &[]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["a", "b"]);
    rig.subscribe(CDS, &["a"]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["a"]);
    rig.set(&[(CDS, "b", "2")]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["b"], "the wildcard stays");
    rig.unsubscribe(CDS, &["*"]);
    rig.set(&[(CDS, "b", "3")]);
    rig.quiet();
    rig.set(&[(CDS, "a", "3")]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["a"]);
    rig.unsubscribe(CDS, &["a"]);
    rig.set(&[(CDS, "a", "4")]);
    rig.quiet();
}

#[test]
fn s4_a_first_request_that_only_unsubscribes_asks_for_nothing() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.unsubscribe(CDS, &["*"]);
    rig.quiet();
    let mut rig = Rig::of(Variant::Delta, rig.group);
    rig.delta(CDS, |request| {
        request.subscribe = strings(&["*"]).into();
        request.unsubscribe = strings(&["*"]);
    });
    rig.quiet();
}

#[test]
fn s5_d8_a_reconnecting_client_is_sent_what_differs() {
    let mut before = rig();
    before.set(&[(CDS, "a", "1"), (CDS, "b", "1"), (CDS, "c", "1")]);
    before.subscribe(CDS, &[]);
    let known = versions(&before.expect(CDS));
    before.set(&[(CDS, "b", "2"), (CDS, "d", "1")]);
    before.remove(CDS, "c");
    let mut after = Rig::of(Variant::Delta, before.group.clone());
    after.delta(CDS, |request| request.versions.clone_from(&known));
    let reply = after.expect_and_ack(CDS, &[]);
    assert_eq!(reply.contents(), ["b=2", "d=1"]);
    assert_eq!(reply.removed, ["c"], "d6: what went while the client was away");
    after.quiet();
    after.set(&[(CDS, "a", "2")]);
    assert_eq!(after.expect(CDS).contents(), ["a=2"]);
}

#[test]
fn d8_trap_12_nothing_is_sent_again_by_a_restarted_server() {
    let mut before = rig();
    before.set(&[(CDS, "a", "0")]);
    before.set(&[(CDS, "a", "1"), (EDS, "a", "1")]);
    before.subscribe(CDS, &[]);
    let known = versions(&before.expect_and_ack(CDS, &[]));
    before.subscribe(EDS, &["a"]);
    let endpoints = versions(&before.expect(EDS));
    let mut restarted = rig();
    restarted.set(&[(CDS, "a", "1"), (EDS, "a", "1")]);
    restarted.delta(CDS, |request| request.versions = known);
    restarted.delta(EDS, |request| {
        request.subscribe = strings(&["a"]).into();
        request.versions = endpoints;
    });
    assert_eq!(restarted.expect_and_ack(CDS, &[]).resources, []);
    assert_eq!(restarted.expect_and_ack(EDS, &[]).resources, [], "an answer, and an empty one");
    restarted.quiet();
}

#[test]
fn d7_versions_without_a_subscription_are_no_subscription() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.delta(EDS, |request| {
        request.subscribe = strings(&["a"]).into();
        request.versions = version_of("b", "old");
    });
    let reply = rig.expect(EDS);
    assert_eq!((reply.names(), reply.removed.len()), (vec!["a"], 0));
}

#[test]
fn s6_a_request_without_names_is_nothing_where_names_are_needed() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (SRDS, "s", "1"), (ResourceType::VirtualHost, "r/v", "1")]);
    rig.subscribe(EDS, &[]);
    rig.quiet();
    rig.subscribe(SRDS, &[]);
    assert_eq!(rig.expect(SRDS).names(), ["s"]);
    rig.subscribe(ResourceType::VirtualHost, &[]);
    assert_eq!(rig.expect(ResourceType::VirtualHost).names(), ["r/v"], "x3");
}

#[test]
fn s10_trap_4_who_asks_again_has_forgotten() {
    let mut rig = rig();
    rig.set(&[(RDS, "a", "1"), (RDS, "b", "1")]);
    rig.subscribe(RDS, &["a", "b"]);
    rig.expect_and_ack(RDS, &[]);
    rig.subscribe(RDS, &["a"]);
    assert_eq!(rig.expect_and_ack(RDS, &[]).names(), ["a"]);
    rig.set(&[(CDS, "x", "1"), (CDS, "y", "1")]);
    rig.subscribe(CDS, &["*"]);
    rig.expect_and_ack(CDS, &[]);
    rig.subscribe(CDS, &["*"]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["x", "y"]);
    rig.quiet();
}

#[test]
fn s11_giving_up_what_was_never_asked_for_is_nothing() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1")]);
    rig.subscribe(EDS, &["a"]);
    rig.expect_and_ack(EDS, &[]);
    rig.unsubscribe(EDS, &["ghost"]);
    rig.quiet();
}

#[test]
fn s12_under_a_wildcard_a_name_given_up_is_accounted_for() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.subscribe(CDS, &["*", "a", "ghost"]);
    let first = rig.expect_and_ack(CDS, &[]);
    assert_eq!((first.names(), first.removed.as_slice()), (vec!["a"], ["ghost".to_owned()].as_slice()));
    rig.unsubscribe(CDS, &["a"]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).names(), ["a"]);
    rig.unsubscribe(CDS, &["ghost"]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).removed, ["ghost"]);
    rig.quiet();
}

#[test]
fn s13_unsubscribing_wins_within_one_request() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.delta(EDS, |request| {
        request.subscribe = strings(&["a", "b"]).into();
        request.unsubscribe = strings(&["a"]);
    });
    assert_eq!(rig.expect_and_ack(EDS, &[]).names(), ["b"]);
}

#[test]
fn s14_trap_18_a_missing_name_is_said_once_and_sent_when_it_comes() {
    let mut rig = rig();
    rig.subscribe(EDS, &["a"]);
    assert_eq!(rig.expect_and_ack(EDS, &[]).removed, ["a"]);
    rig.quiet();
    rig.set(&[(EDS, "a", "1")]);
    assert_eq!(rig.expect_and_ack(EDS, &[]).contents(), ["a=1"]);
}

#[test]
fn s14_nobody_is_told_that_an_awaited_route_table_is_gone() {
    let mut rig = rig();
    rig.subscribe(RDS, &["a"]);
    let reply = rig.next();
    assert!(reply.is_none_or(|reply| reply.removed.is_empty() && reply.resources.is_empty()));
    let mut rig = Rig::of(Variant::Delta, rig.group);
    rig.set(&[(RDS, "a", "1"), (RDS, "b", "1"), (SDS, "s", "1")]);
    rig.subscribe(RDS, &["a", "b"]);
    rig.subscribe(SDS, &["s"]);
    while let Some(reply) = rig.next() {
        rig.ack(&reply, &[]);
    }
    rig.remove(RDS, "a");
    rig.remove(SDS, "s");
    rig.quiet();
}

#[test]
fn s18_trap_44_names_whose_parents_are_gone_are_no_error() {
    let mut rig = rig();
    rig.delta(EDS, |request| {
        request.subscribe = strings(&["gone"]).into();
        request.versions = version_of("gone", "x");
    });
    assert_eq!(rig.expect_and_ack(EDS, &[]).removed, ["gone"]);
    rig.quiet();
}

#[test]
fn d1_an_empty_universe_is_answered() {
    let mut rig = rig();
    rig.subscribe(CDS, &[]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).resources, []);
    rig.subscribe(LDS, &[]);
    assert_eq!(rig.expect_and_ack(LDS, &[]).resources, []);
    rig.quiet();
}

#[test]
fn trap_9_two_changes_before_the_first_acknowledgement() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1")]);
    rig.subscribe(EDS, &["a"]);
    let first = rig.expect(EDS);
    rig.set(&[(EDS, "a", "2")]);
    rig.set(&[(EDS, "a", "3")]);
    rig.quiet();
    rig.ack(&first, &[]);
    assert_eq!(rig.expect_and_ack(EDS, &[]).contents(), ["a=3"], "g10: the newest only");
    rig.quiet();
}

#[test]
fn trap_10_any_part_of_the_endpoints_may_be_asked_for() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.subscribe(EDS, &["b"]);
    assert_eq!(rig.expect(EDS).names(), ["b"]);
}

#[test]
fn trap_21_streams_of_one_node_are_apart() {
    let mut one = rig();
    one.set(&[(CDS, "a", "1")]);
    let mut two = Rig::of(Variant::Delta, one.group.clone());
    one.subscribe(CDS, &[]);
    two.subscribe(CDS, &[]);
    one.expect_and_ack(CDS, &[]);
    two.expect_and_ack(CDS, &[]);
    drop(one);
    two.set(&[(CDS, "a", "2")]);
    assert_eq!(two.expect(CDS).contents(), ["a=2"]);
}

#[test]
fn trap_40_a_thousand_changes_while_nobody_listens_are_one() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "0")]);
    rig.subscribe(CDS, &[]);
    let first = rig.expect(CDS);
    for count in 1..=1000 {
        rig.set(&[(CDS, "a", &count.to_string())]);
    }
    rig.ack(&first, &[]);
    assert_eq!(rig.expect_and_ack(CDS, &[]).contents(), ["a=1000"]);
    rig.quiet();
}

#[test]
fn frames_are_shared_by_streams_in_step() {
    let mut one = rig();
    one.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut two = Rig::of(Variant::Delta, one.group.clone());
    for rig in [&mut one, &mut two] {
        rig.subscribe(EDS, &["a", "b"]);
        rig.expect_and_ack(EDS, &[]);
    }
    one.set(&[(EDS, "a", "2")]);
    let (_, first) = one.stream.next(Duration::ZERO).unwrap();
    let (_, second) = two.stream.next(Duration::ZERO).unwrap();
    assert_eq!(first.as_ptr(), second.as_ptr(), "one buffer for all");
}

#[test]
fn names_beyond_the_limit_are_refused() {
    let mut rig = rig();
    rig.stream = Stream::new(Variant::Delta, None, rig.group.clone(), 3);
    let request = DeltaRequest {
        type_url: EDS.type_url().into(),
        subscribe: strings(&["a", "b", "c", "d"]).into(),
        ..Default::default()
    };
    assert_eq!(rig.stream.delta(&request).unwrap_err().grpc_code(), 8);
}
