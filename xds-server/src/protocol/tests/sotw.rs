//! SotW: whole sets of names, whole states, one nonce for each type.

use super::*;

fn rig() -> Rig {
    Rig::new(Variant::Sotw)
}

#[test]
fn n2_trap_16_the_first_request_is_one_whatever_nonce_it_carries() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1")]);
    rig.sotw_with(EDS, &["a"], "17", "old", None);
    assert_eq!(rig.expect(EDS).contents(), ["a=1"]);
}

#[test]
fn n3_a_stale_request_is_not_answered() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.sotw(CDS, &[], "");
    let first = rig.expect_and_ack(CDS, &[]);
    rig.set(&[(CDS, "a", "2")]);
    rig.expect(CDS);
    rig.sotw(CDS, &[], &first.nonce);
    rig.quiet();
}

#[test]
fn n4_trap_15_names_in_a_stale_request_are_not_lost() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.sotw(EDS, &["a"], "");
    let first = rig.expect_and_ack(EDS, &["a"]);
    for count in 2..50 {
        rig.set(&[(EDS, "a", &count.to_string())]);
        let reply = rig.expect(EDS);
        rig.sotw(EDS, &["a", "b"], &first.nonce);
        rig.quiet();
        rig.ack(&reply, &["a", "b"]);
        if count == 2 {
            assert_eq!(rig.expect_and_ack(EDS, &["a", "b"]).contents(), ["b=1"]);
        }
    }
}

#[test]
fn n4_trap_46_a_stuck_acknowledgement_holds_newer_clusters_a_second_only() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.sotw(CDS, &[], "");
    rig.expect(CDS);
    rig.set(&[(CDS, "b", "1")]);
    rig.now = Duration::from_millis(900);
    rig.quiet();
    assert_eq!(rig.stream.deadline(rig.now), Some(Duration::from_secs(1)));
    rig.now = Duration::from_secs(1);
    let second = rig.expect(CDS);
    assert_eq!(second.contents(), ["a=1", "b=1"]);
    rig.ack(&second, &[]);
    rig.quiet();
    assert_eq!(rig.stream.deadline(rig.now), None);
}

#[test]
fn n5_trap_14_nonces_belong_to_their_type() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1"), (LDS, "l", "1")]);
    rig.sotw(CDS, &[], "");
    rig.sotw(LDS, &[], "");
    let clusters = rig.expect(CDS);
    rig.quiet();
    rig.ack(&clusters, &[]);
    let listeners = rig.expect(LDS);
    rig.sotw(LDS, &[], &clusters.nonce);
    rig.set(&[(LDS, "l", "2")]);
    rig.quiet();
    rig.ack(&listeners, &[]);
    assert_eq!(rig.expect(LDS).contents(), ["l=2"]);
}

/// Clusters that make their client ask for endpoints.
fn clusters(rig: &Rig, names: &[&str]) {
    use xds_api::envoy::config::core::v3::{AggregatedConfigSource, ConfigSource, config_source};
    let source = config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    let source = ConfigSource { config_source_specifier: Some(source), ..Default::default() };
    let eds = EdsClusterConfig { eds_config: Some(source), ..Default::default() };
    let cluster = |name: &str| {
        let eds_cluster_config = Some(eds.clone());
        let alt_stat_name = format!("{name}=1");
        let cluster = Cluster { name: name.into(), alt_stat_name, eds_cluster_config, ..Default::default() };
        Resource::encode(CDS, name, &cluster)
    };
    let set = names.iter().map(|name| cluster(name)).collect();
    rig.group.publish(Change { set, remove: Vec::new() }, SystemTime::UNIX_EPOCH);
}

/// Clusters and endpoints on a stream, acknowledged; the versions that its client has.
fn in_step(rig: &mut Rig, names: &[&str]) -> (String, String) {
    rig.sotw(CDS, &[], "");
    rig.sotw(EDS, names, "");
    let clusters = rig.expect_and_ack(CDS, &[]);
    let endpoints = rig.expect_and_ack(EDS, names);
    rig.quiet();
    (clusters.version, endpoints.version)
}

fn back(group: &Arc<Group>, clusters: &str, names: &[&str], endpoints: &str) -> Rig {
    let mut rig = Rig::of(Variant::Sotw, group.clone());
    rig.sotw_with(CDS, &[], "", clusters, None);
    rig.sotw_with(EDS, names, "", endpoints, None);
    rig
}

#[test]
fn v6_who_has_what_there_is_is_sent_nothing() {
    let mut before = rig();
    before.set(&[(EDS, "a", "1"), (EDS, "b", "1"), (RDS, "r", "1")]);
    self::clusters(&before, &["a"]);
    let (clusters, first) = in_step(&mut before, &["a", "b"]);
    before.set(&[(EDS, "b", "2")]);
    let endpoints = before.expect_and_ack(EDS, &["a", "b"]).version;
    back(&before.group, &clusters, &["b", "a"], &endpoints).quiet();
    for (names, version) in
        [(&["a", "b"][..], first.as_str()), (&["a"], &endpoints), (&["a", "b"], "whatever"), (&["a", "b"], "")]
    {
        let mut rig = back(&before.group, &clusters, names, version);
        assert_eq!(rig.expect(EDS).names(), names, "trap 11: {version}");
    }
    // The clusters that made it ask are not those that it has: who knows what it had forgotten.
    let mut rig = back(&before.group, "whatever", &["a", "b"], &endpoints);
    rig.expect(CDS);
    assert_eq!(rig.expect(EDS).names(), ["a", "b"]);
    // A stream for one type says nothing of the others.
    let mut rig = rig_of(&before, EDS);
    rig.sotw_with(EDS, &["a", "b"], "", &endpoints, None);
    assert_eq!(rig.expect(EDS).names(), ["a", "b"]);
}

fn rig_of(other: &Rig, kind: ResourceType) -> Rig {
    let stream = Stream::new(Variant::Sotw, Some(kind), other.group.clone(), 1000);
    Rig { stream, ..Rig::of(Variant::Sotw, other.group.clone()) }
}

#[test]
fn v6_a_replica_agrees_on_versions_of_names() {
    let (mut one, mut two) = (rig(), rig());
    one.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    two.set(&[(EDS, "c", "7"), (EDS, "a", "2"), (EDS, "b", "1")]);
    two.set(&[(EDS, "a", "1")]);
    clusters(&one, &["a"]);
    clusters(&two, &["a"]);
    let told = in_step(&mut one, &["a", "b"]);
    assert_eq!(told, in_step(&mut two, &["b", "a"]));
    back(&two.group, &told.0, &["a", "b"], &told.1).quiet();
}

#[test]
fn v6_a_version_of_names_does_not_come_true_again() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    clusters(&rig, &["a", "b"]);
    let (_, first) = in_step(&mut rig, &["a", "b"]);
    // The cluster goes, and with it the client's endpoints; nothing of them is sent.
    rig.remove(CDS, "b");
    let fewer = rig.expect_and_ack(CDS, &[]);
    rig.quiet();
    // It comes back, as it was: the client asks for endpoints that it has no more, and tells the version of before.
    clusters(&rig, &["b"]);
    let doubted = rig.expect(EDS);
    assert_ne!(doubted.version, first);
    assert!(doubted.version.ends_with('+') && doubted.names() == ["a", "b"], "{doubted:?}");
    let more = rig.expect(CDS);
    assert_ne!(more.version, fewer.version);
    let mut again = back(&rig.group, &more.version, &["a", "b"], &doubted.version);
    assert_eq!(again.expect(EDS).names(), ["a", "b"]);
    // And all is well with it in the end.
    rig.ack(&doubted, &["a", "b"]);
    rig.ack(&more, &[]);
    let settled = rig.expect_and_ack(EDS, &["a", "b"]);
    assert_eq!(settled.version, first);
    rig.quiet();
}

#[test]
fn v6_a_rate_limit_service_is_always_answered() {
    let mut before = rig();
    before.set(&[(RLS, "d", "1")]);
    before.sotw(RLS, &[], "");
    let limits = before.expect(RLS);
    let mut rig = Rig::of(Variant::Sotw, before.group);
    rig.sotw_with(RLS, &[], &limits.nonce, &limits.version, None);
    assert_eq!(rig.expect(RLS).contents(), ["d=1"], "it tells the version that it rejected, too");
}

#[test]
fn a9_repeated_request_after_ack_is_answered() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.sotw(EDS, &["a", "b"], "");
    let first = rig.expect_and_ack(EDS, &["a", "b"]);
    rig.quiet();
    rig.ack(&first, &["a", "b"]);
    let second = rig.expect(EDS);
    assert_eq!(second.contents(), ["a=1", "b=1"]);
    assert_ne!(first.nonce, second.nonce);
    rig.ack(&second, &["a", "b"]);
    rig.quiet();
}

#[test]
fn s2_wildcard_then_names_then_nothing() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    rig.sotw(CDS, &[], "");
    let reply = rig.expect_and_ack(CDS, &[]);
    assert_eq!(reply.names(), ["a", "b"]);
    rig.sotw(CDS, &["*", "a"], &reply.nonce);
    let reply = rig.expect_and_ack(CDS, &["*", "a"]);
    assert_eq!(reply.names(), ["a", "b"]);
    rig.sotw(CDS, &["a"], &reply.nonce);
    let reply = rig.expect_and_ack(CDS, &["a"]);
    assert_eq!(reply.names(), ["a"]);
    rig.sotw(CDS, &[], &reply.nonce);
    rig.set(&[(CDS, "a", "2")]);
    rig.quiet();
}

#[test]
fn s7_a_new_name_is_answered_although_nothing_changed() {
    let mut rig = rig();
    rig.set(&[(RDS, "a", "1"), (RDS, "b", "1")]);
    rig.sotw(RDS, &["a"], "");
    let reply = rig.expect_and_ack(RDS, &["a"]);
    rig.sotw(RDS, &["a", "b"], &reply.nonce);
    assert_eq!(rig.expect_and_ack(RDS, &["a", "b"]).names(), ["b"], "r2: a part is enough");
}

#[test]
fn s8_fewer_names_are_no_question() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.sotw(EDS, &["a", "b"], "");
    let reply = rig.expect_and_ack(EDS, &["a", "b"]);
    rig.sotw(EDS, &["b"], &reply.nonce);
    rig.quiet();
    rig.set(&[(EDS, "a", "2")]);
    rig.quiet();
}

#[test]
fn s9_s17_trap_17_no_names_after_names_is_nothing_for_good() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.sotw(EDS, &["a"], "");
    let reply = rig.expect_and_ack(EDS, &["a"]);
    rig.sotw(EDS, &[], &reply.nonce);
    rig.set(&[(EDS, "a", "2"), (EDS, "c", "1")]);
    rig.quiet();
    rig.sotw(EDS, &[""], &reply.nonce);
    rig.quiet();
    rig.sotw(EDS, &["a"], &reply.nonce);
    assert_eq!(rig.expect(EDS).contents(), ["a=2"], "trap 37: the old nonce is the newest there is");
}

#[test]
fn s15_a_missing_name_is_sent_when_it_comes() {
    let mut rig = rig();
    rig.sotw(RDS, &["a"], "");
    rig.quiet();
    rig.set(&[(RDS, "a", "1")]);
    let reply = rig.expect_and_ack(RDS, &["a"]);
    assert_eq!(reply.contents(), ["a=1"]);
    rig.set(&[(CDS, "x", "1")]);
    rig.sotw(CDS, &["x", "y"], "");
    assert_eq!(rig.expect_and_ack(CDS, &["x", "y"]).names(), ["x"]);
    rig.set(&[(CDS, "y", "1")]);
    assert_eq!(rig.expect(CDS).names(), ["x", "y"], "the whole of what was asked for");
}

#[test]
fn r1_clusters_and_listeners_are_always_whole() {
    let mut rig = rig();
    rig.set(&[(LDS, "a", "1"), (LDS, "b", "1")]);
    rig.sotw(LDS, &[], "");
    rig.expect_and_ack(LDS, &[]);
    rig.set(&[(LDS, "b", "2")]);
    assert_eq!(rig.expect_and_ack(LDS, &[]).contents(), ["a=1", "b=2"]);
    rig.remove(LDS, "a");
    assert_eq!(rig.expect_and_ack(LDS, &[]).contents(), ["b=2"]);
    rig.remove(LDS, "b");
    assert_eq!(rig.expect_and_ack(LDS, &[]).contents(), [""; 0], "an empty one deletes all");
    rig.quiet();
}

#[test]
fn r2_endpoints_are_sent_in_part() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    rig.sotw(EDS, &["a", "b"], "");
    rig.expect_and_ack(EDS, &["a", "b"]);
    rig.set(&[(EDS, "b", "2")]);
    assert_eq!(rig.expect_and_ack(EDS, &["a", "b"]).contents(), ["b=2"]);
}

#[test]
fn r5_only_the_newest_request_is_answered() {
    let mut rig = rig();
    rig.set(&[(EDS, "a", "1"), (EDS, "b", "1"), (EDS, "c", "1")]);
    rig.sotw(EDS, &["a"], "");
    rig.sotw(EDS, &["a", "b"], "");
    rig.sotw(EDS, &["b", "c"], "");
    assert_eq!(rig.expect_and_ack(EDS, &["b", "c"]).names(), ["b", "c"]);
    rig.quiet();
}

#[test]
fn r6_no_change_no_message() {
    let mut rig = rig();
    rig.set(&[(CDS, "a", "1")]);
    rig.sotw(CDS, &[], "");
    rig.expect_and_ack(CDS, &[]);
    rig.set(&[(CDS, "a", "1")]);
    rig.quiet();
    rig.set(&[(CDS, "a", "2")]);
    rig.set(&[(CDS, "a", "1")]);
    rig.quiet();
}

#[test]
fn rate_limit_config_is_a_wildcard_and_whole() {
    let mut rig = rig();
    rig.set(&[(RLS, "one", "1"), (RLS, "two", "1")]);
    rig.sotw(RLS, &[], "");
    rig.expect_and_ack(RLS, &[]);
    rig.set(&[(RLS, "two", "2")]);
    assert_eq!(rig.expect_and_ack(RLS, &[]).contents(), ["one=1", "two=2"]);
}
