//! What a client rejects is not sent to it again, and does not hold up anything else.

use super::*;

const BOTH: [Variant; 2] = [Variant::Delta, Variant::Sotw];

fn ask(rig: &mut Rig, kind: ResourceType, names: &[&str]) {
    match rig.variant {
        Variant::Delta => rig.subscribe(kind, names),
        Variant::Sotw => drop(rig.sotw(kind, names, "")),
    }
}

#[test]
fn a1_a2_trap_1_a_rejection_is_not_answered() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        rig.set(&[(EDS, "a", "1")]);
        ask(&mut rig, EDS, &["a"]);
        rig.expect_and_ack(EDS, &["a"]);
        rig.set(&[(EDS, "a", "bad")]);
        let bad = rig.expect(EDS);
        for _ in 0..100 {
            rig.nack(&bad, &["a"], "no");
            rig.quiet();
        }
        rig.set(&[(EDS, "a", "bad")]);
        rig.quiet();
        assert_eq!(rig.group.rejected().len(), 1);
    }
}

#[test]
fn a2_trap_2_what_comes_after_is_sent() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        rig.set(&[(CDS, "a", "1")]);
        ask(&mut rig, CDS, &[]);
        rig.expect_and_ack(CDS, &[]);
        rig.set(&[(CDS, "a", "2")]);
        let bad = rig.expect(CDS);
        rig.nack(&bad, &[], "no");
        rig.quiet();
        rig.set(&[(CDS, "a", "1")]);
        rig.quiet();
        rig.set(&[(CDS, "a", "3")]);
        assert_eq!(rig.expect_and_ack(CDS, &[]).contents(), ["a=3"]);
        assert!(rig.group.rejected().is_empty());
    }
}

#[test]
fn a3_names_added_by_a_rejection_are_answered_without_the_culprit() {
    let mut rig = Rig::new(Variant::Sotw);
    rig.set(&[(RDS, "a", "1"), (RDS, "b", "1")]);
    rig.sotw(RDS, &["a"], "");
    let bad = rig.expect(RDS);
    rig.nack(&bad, &["a", "b"], "a is bad");
    assert_eq!(rig.expect_and_ack(RDS, &["a", "b"]).names(), ["b"]);
    rig.quiet();
}

#[test]
fn a6_one_bad_cluster_among_many_blocks_nothing() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        let names: Vec<String> = (0..50).map(|n| format!("c{n:02}")).collect();
        let mut all: Vec<_> = names.iter().map(|name| (CDS, name.as_str(), "1")).collect();
        rig.set(&all);
        ask(&mut rig, CDS, &[]);
        rig.expect_and_ack(CDS, &[]);
        for resource in &mut all {
            resource.2 = "2";
        }
        rig.set(&all);
        let bad = rig.expect(CDS);
        rig.nack(&bad, &[], "Error adding/updating cluster(s) c07: bad things");
        let rest = rig.expect_and_ack(CDS, &[]);
        assert!(rest.contents().contains(&"c08=2") && !rest.contents().contains(&"c07=2"));
        rig.quiet();
        let rejected = rig.group.rejected();
        assert_eq!(rejected.len(), 1);
        assert_eq!(&*rejected[0].resource.name, "c07");
        let mut other = Rig::of(variant, rig.group);
        ask(&mut other, CDS, &[]);
        let contents = other.expect(CDS);
        assert!(contents.contents().contains(&"c07=1"), "what was good before takes its place");
    }
}

#[test]
fn a6_a_nameless_rejection_is_narrowed_down() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        let names = ["a", "b", "c"];
        rig.set(&[(RDS, "a", "1"), (RDS, "b", "bad"), (RDS, "c", "1")]);
        ask(&mut rig, RDS, &names);
        let all = rig.expect(RDS);
        rig.nack(&all, &names, "bad (route)");
        let mut taken = Vec::new();
        while let Some(reply) = rig.next() {
            let [(name, content)] = reply.resources.as_slice() else { panic!("one at a time: {reply:?}") };
            if content == "b=bad" {
                rig.nack(&reply, &names, "bad (route)");
            } else {
                taken.push(name.clone());
                rig.ack(&reply, &names);
            }
        }
        assert_eq!(taken, ["a", "c"]);
        let rejected = rig.group.rejected();
        assert_eq!(rejected.len(), 1);
        assert_eq!(&*rejected[0].resource.name, "b");
        rig.set(&[(RDS, "b", "2")]);
        assert_eq!(rig.expect_and_ack(RDS, &names).contents(), ["b=2"]);
        rig.quiet();
    }
}

#[test]
fn a6_whole_states_are_narrowed_down_without_deleting_anything() {
    let mut rig = Rig::new(Variant::Sotw);
    rig.set(&[(SRDS, "a", "1"), (SRDS, "b", "1")]);
    rig.sotw(SRDS, &[], "");
    rig.expect_and_ack(SRDS, &[]);
    rig.set(&[(SRDS, "a", "2"), (SRDS, "b", "bad"), (SRDS, "c", "1")]);
    let all = rig.expect(SRDS);
    rig.nack(&all, &[], "something is wrong");
    let mut last = Vec::new();
    while let Some(reply) = rig.next() {
        assert!(reply.names().contains(&"a") && reply.names().contains(&"b"));
        if reply.contents().contains(&"b=bad") {
            rig.nack(&reply, &[], "something is wrong");
        } else {
            last = reply.resources.clone();
            rig.ack(&reply, &[]);
        }
    }
    let contents: Vec<&str> = last.iter().map(|(_, content)| content.as_str()).collect();
    assert_eq!(contents, ["a=2", "b=1", "c=1"]);
}

#[test]
fn one_odd_client_does_not_decide_for_the_others() {
    for variant in BOTH {
        let mut odd = Rig::new(variant);
        let mut good = Rig::of(variant, odd.group.clone());
        odd.set(&[(EDS, "a", "1"), (EDS, "b", "1")]);
        for rig in [&mut odd, &mut good] {
            ask(rig, EDS, &["a", "b"]);
        }
        let first = odd.expect(EDS);
        good.expect_and_ack(EDS, &["a", "b"]);
        odd.nack(&first, &["a", "b"], "I like nothing");
        odd.quiet();
        assert!(odd.group.rejected().is_empty(), "another has taken it");
        odd.set(&[(EDS, "a", "2")]);
        let second = odd.expect(EDS);
        odd.nack(&second, &["a", "b"], "nothing");
        odd.quiet();
        assert_eq!(odd.group.rejected().len(), 1, "nobody has taken it yet");
        // The other is told of the change, then of the way back; whichever it takes counts.
        let mut late = Rig::of(variant, odd.group.clone());
        ask(&mut late, EDS, &["a", "b"]);
        assert_eq!(late.expect_and_ack(EDS, &["a", "b"]).contents(), ["a=1", "b=1"]);
    }
}

#[test]
fn what_another_client_takes_after_all_comes_back() {
    let mut odd = Rig::new(Variant::Delta);
    let mut good = Rig::of(Variant::Delta, odd.group.clone());
    odd.set(&[(CDS, "a", "1")]);
    for rig in [&mut odd, &mut good] {
        rig.subscribe(CDS, &[]);
        rig.expect_and_ack(CDS, &[]);
    }
    odd.set(&[(CDS, "a", "2")]);
    let (to_odd, to_good) = (odd.expect(CDS), good.expect(CDS));
    odd.nack(&to_odd, &[], "a: no");
    assert_eq!(odd.group.rejected().len(), 1);
    good.ack(&to_good, &[]);
    assert!(odd.group.rejected().is_empty());
    good.quiet();
    odd.quiet();
    assert_eq!(odd.group.state(CDS).get("a").unwrap().body, resource(CDS, "a", "2").body);
}

#[test]
fn a_client_that_rejects_everything_is_left_alone() {
    for variant in BOTH {
        let mut good = Rig::new(variant);
        let mut odd = Rig::of(variant, good.group.clone());
        let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
        good.set(&names.iter().map(|name| (CDS, name.as_str(), "1")).collect::<Vec<_>>());
        ask(&mut good, CDS, &[]);
        good.expect_and_ack(CDS, &[]);
        ask(&mut odd, CDS, &[]);
        let first = odd.expect(CDS);
        odd.nack(&first, &[], "never");
        odd.quiet();
    }
}

#[test]
fn routes_do_not_wait_for_a_rejected_cluster() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        rig.set(&[(CDS, "a", "1"), (RDS, "r", "1")]);
        ask(&mut rig, CDS, &[]);
        rig.expect_and_ack(CDS, &[]);
        ask(&mut rig, RDS, &["r"]);
        rig.expect_and_ack(RDS, &["r"]);
        rig.set(&[(CDS, "a", "bad"), (RDS, "r", "2")]);
        let bad = rig.expect(CDS);
        rig.quiet();
        rig.nack(&bad, &[], "a: bad");
        assert_eq!(rig.expect_and_ack(RDS, &["r"]).contents(), ["r=2"]);
        rig.quiet();
    }
}

#[test]
fn a_rejected_removal_is_not_repeated() {
    let mut rig = Rig::new(Variant::Delta);
    rig.set(&[(LDS, "a", "1")]);
    rig.subscribe(LDS, &[]);
    rig.expect_and_ack(LDS, &[]);
    rig.remove(LDS, "a");
    let gone = rig.expect(LDS);
    rig.nack(&gone, &[], "I keep it");
    rig.quiet();
}
