//! Order between types: make before break, and no deadlock while clusters warm.

use super::*;
use crate::protocol::CLUSTER_PATIENCE;

fn names_of(variant: Variant, names: &'static [&'static str]) -> &'static [&'static str] {
    if variant == Variant::Sotw { names } else { &[] }
}

/// Both variants with cluster, endpoints, listener and route table in step.
fn in_step(variant: Variant) -> Rig {
    let mut rig = Rig::new(variant);
    rig.set(&[(CDS, "a", "1"), (EDS, "a", "1"), (LDS, "l", "1"), (RDS, "r", "1")]);
    match variant {
        Variant::Delta => {
            rig.subscribe(CDS, &[]);
            rig.expect_and_ack(CDS, &[]);
            rig.subscribe(EDS, &["a"]);
            rig.subscribe(LDS, &[]);
            rig.subscribe(RDS, &["r"]);
        }
        Variant::Sotw => {
            rig.sotw(CDS, &[], "");
            rig.expect_and_ack(CDS, &[]);
            rig.sotw(EDS, &["a"], "");
            rig.sotw(LDS, &[], "");
            rig.sotw(RDS, &["r"], "");
        }
    }
    rig.expect_and_ack(EDS, &["a"]);
    rig.expect_and_ack(LDS, &[]);
    rig.expect_and_ack(RDS, &["r"]);
    rig.quiet();
    rig
}

const BOTH: [Variant; 2] = [Variant::Delta, Variant::Sotw];

#[test]
fn o1_o4_routes_follow_the_acknowledgement_of_clusters() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        rig.set(&[(CDS, "b", "1"), (EDS, "b", "1"), (RDS, "r", "to-b"), (LDS, "l", "2")]);
        let clusters = rig.expect(CDS);
        rig.quiet();
        rig.ack(&clusters, &[]);
        rig.expect_and_ack(LDS, &[]);
        assert_eq!(rig.expect_and_ack(RDS, names_of(variant, &["r"])).contents(), ["r=to-b"]);
    }
}

#[test]
fn o2_a_cluster_goes_when_the_routes_have_moved() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        rig.set(&[(CDS, "b", "1")]);
        rig.expect_and_ack(CDS, &[]);
        rig.set(&[(RDS, "r", "to-b")]);
        rig.remove(CDS, "a");
        let routes = rig.expect(RDS);
        rig.quiet();
        rig.ack(&routes, names_of(variant, &["r"]));
        let gone = rig.expect_and_ack(CDS, &[]);
        match variant {
            Variant::Delta => assert_eq!(gone.removed, ["a"]),
            Variant::Sotw => assert_eq!(gone.names(), ["b"]),
        }
        rig.quiet();
    }
}

#[test]
fn o2_one_step_that_adds_and_removes_is_two_versions_of_clusters() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        let set = vec![resource(CDS, "b", "1"), resource(EDS, "b", "1"), resource(RDS, "r", "to-b")];
        let remove = vec![(CDS, Arc::from("a")), (EDS, Arc::from("a"))];
        rig.group.publish(Change { set, remove }, SystemTime::UNIX_EPOCH);
        let union = rig.expect_and_ack(CDS, &[]);
        assert!(union.removed.is_empty());
        if variant == Variant::Sotw {
            assert_eq!(union.names(), ["b", "a"], "what is not to go yet stays in the state");
        }
        // Another change of clusters meanwhile does not break it off.
        rig.set(&[(CDS, "c", "1")]);
        let union = rig.expect_and_ack(CDS, &[]);
        if variant == Variant::Sotw {
            assert_eq!(union.names(), ["b", "c", "a"]);
        }
        let routes = rig.expect(RDS);
        rig.quiet();
        rig.ack(&routes, names_of(variant, &["r"]));
        let last = rig.expect_and_ack(CDS, &[]);
        match variant {
            Variant::Delta => assert_eq!((last.removed, last.resources.len()), (strings(&["a"]), 0)),
            Variant::Sotw => assert_eq!(last.names(), ["b", "c"]),
        }
        rig.quiet();
    }
}

#[test]
fn o2_a_cluster_goes_also_when_a_route_table_goes_in_silence() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        let remove = vec![(CDS, Arc::from("a")), (RDS, Arc::from("r"))];
        rig.group.publish(Change { set: Vec::new(), remove }, SystemTime::UNIX_EPOCH);
        let gone = rig.expect_and_ack(CDS, &[]);
        assert!(gone.removed == ["a"] || variant == Variant::Sotw && gone.resources.is_empty());
        rig.quiet();
    }
}

#[test]
fn a10_o4_trap_7_endpoints_do_not_wait_for_a_warming_cluster_and_routes_not_for_ever() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        rig.set(&[(CDS, "a", "2"), (EDS, "a", "2"), (RDS, "r", "2")]);
        let clusters = rig.expect(CDS);
        // The client warms the cluster: it withholds this acknowledgement until it has endpoints.
        assert_eq!(rig.expect_and_ack(EDS, names_of(variant, &["a"])).contents(), ["a=2"]);
        rig.quiet();
        assert_eq!(rig.stream.deadline(rig.now), Some(CLUSTER_PATIENCE));
        rig.now = CLUSTER_PATIENCE;
        rig.expect_and_ack(RDS, names_of(variant, &["r"]));
        assert_eq!(rig.stream.deadline(rig.now), None, "a deadline that has passed wakes nobody");
        rig.ack(&clusters, &[]);
        rig.quiet();
    }
}

#[test]
fn d10_traps_5_and_6_endpoints_follow_every_cluster_that_is_sent() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        rig.set(&[(CDS, "a", "2")]);
        rig.expect(CDS);
        let endpoints = rig.expect_and_ack(EDS, names_of(variant, &["a"]));
        assert_eq!(endpoints.contents(), ["a=1"], "unchanged, and sent again");
        rig.quiet();
    }
}

#[test]
fn d10_a_service_name_is_the_name_of_the_endpoints() {
    let mut rig = in_step(Variant::Delta);
    rig.subscribe(EDS, &["of-b"]);
    rig.expect_and_ack(EDS, &[]);
    rig.set(&[(EDS, "of-b", "1")]);
    rig.expect_and_ack(EDS, &[]);
    let eds = EdsClusterConfig { service_name: "of-b".into(), ..Default::default() };
    let cluster = Cluster { name: "b".into(), eds_cluster_config: Some(eds), ..Default::default() };
    let set = vec![Resource::encode(CDS, "b", &cluster)];
    rig.group.publish(Change { set, remove: Vec::new() }, SystemTime::UNIX_EPOCH);
    rig.expect(CDS);
    assert_eq!(rig.expect(EDS).names(), ["of-b"]);
}

#[test]
fn d10_endpoints_asked_for_after_the_cluster_was_sent_are_pushed_although_known() {
    let mut before = in_step(Variant::Delta);
    before.subscribe(EDS, &["a"]);
    let known = before.expect(EDS);
    let mut after = Rig::of(Variant::Delta, before.group);
    after.set(&[(CDS, "a", "2")]);
    after.subscribe(CDS, &[]);
    after.expect(CDS);
    after.delta(EDS, |request| {
        request.subscribe = strings(&["a"]).into();
        request.versions = vec![("a".to_owned(), known.versions[0].clone())].into();
    });
    assert_eq!(after.expect(EDS).contents(), ["a=1"]);
}

#[test]
fn trap_8_a_cluster_sent_while_its_endpoints_are_in_flight() {
    for variant in BOTH {
        let mut rig = in_step(variant);
        rig.set(&[(EDS, "a", "2")]);
        let first = rig.expect(EDS);
        rig.set(&[(CDS, "a", "2")]);
        rig.expect_and_ack(CDS, &[]);
        rig.ack(&first, names_of(variant, &["a"]));
        assert_eq!(rig.expect_and_ack(EDS, names_of(variant, &["a"])).contents(), ["a=2"]);
        rig.quiet();
    }
}

#[test]
fn o6_o8_types_may_be_asked_for_in_any_order() {
    let mut rig = Rig::new(Variant::Delta);
    rig.set(&[(CDS, "a", "1"), (EDS, "a", "1"), (LDS, "l", "1"), (RDS, "r", "1"), (SRDS, "s", "1")]);
    rig.subscribe(RDS, &["r"]);
    rig.subscribe(EDS, &["a"]);
    rig.expect_and_ack(EDS, &[]);
    rig.expect_and_ack(RDS, &[]);
    rig.subscribe(SRDS, &[]);
    rig.subscribe(LDS, &[]);
    rig.expect_and_ack(LDS, &[]);
    rig.expect_and_ack(SRDS, &[]);
    rig.subscribe(CDS, &[]);
    rig.expect_and_ack(CDS, &[]);
    rig.expect_and_ack(EDS, &[]);
    rig.quiet();
}

#[test]
fn s16_endpoints_drain_by_an_empty_set_and_not_by_removal() {
    let mut rig = in_step(Variant::Delta);
    rig.remove(EDS, "a");
    rig.quiet();
    rig.set(&[(EDS, "a", "empty")]);
    assert_eq!(rig.expect(EDS).contents(), ["a=empty"]);
}
