//! No name leaves that is not there.
//!
//! What is *wanted* is what a publisher asks for; what is *published* is what streams are sent. They differ where a name
//! would dangle:
//!
//! - content that names what is not there is **held**: what its name had before stays published, or nothing;
//! - what is not wanted any more, but named by something published, is **kept** until nothing names it.
//!
//! | not there, and may be named | because |
//! |---|---|
//! | names of [`Apart`], said by the publisher | they are of the Envoy's bootstrap, or are not there on purpose |
//! | what an Envoy rejected, and had nothing before | one bad resource blocks no other: Envoy answers for it |
//! | what content names that was put back after a rejection | the Envoys that run it have it already |
//!
//! The cost is that of the change: the names in it, and who names those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xds_api::ResourceType;

use super::state::Entry;

pub(crate) type Key = (ResourceType, Arc<str>);

/// Names that may be used although nothing of that name is ever published.
#[derive(Clone, Debug, Default)]
pub struct Apart(Arc<BTreeSet<Key>>);

impl Apart {
    #[must_use]
    pub fn new<'n>(names: impl IntoIterator<Item = (ResourceType, &'n str)>) -> Self {
        Self(Arc::new(names.into_iter().map(|(kind, name)| (kind, Arc::from(name))).collect()))
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.0.contains(key)
    }
}

/// What a group has published, and what else is there by exception.
pub(crate) trait Published {
    fn get(&self, key: &Key) -> Option<Arc<Entry>>;
    /// Whether a name may be used that is not there.
    fn apart(&self, key: &Key) -> bool;
}

/// What is to be published after all.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub set: Vec<Arc<Entry>>,
    pub remove: Vec<Key>,
}

/// Content that is not published, with the names it lacks.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub entry: Arc<Entry>,
    pub lacks: Vec<Key>,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Who of what is published names a name.
    named_by: BTreeMap<Key, BTreeSet<Key>>,
    held: BTreeMap<Key, Held>,
    /// By a name that is not there: what is held for it.
    waiting: BTreeMap<Key, BTreeSet<Key>>,
    kept: BTreeSet<Key>,
}

impl Links {
    /// Decides what of a change is published. Whoever calls publishes all of it.
    pub(crate) fn pass(
        &mut self,
        set: impl IntoIterator<Item = Arc<Entry>>,
        remove: impl IntoIterator<Item = Key>,
        published: &impl Published,
    ) -> Passed {
        let mut going: BTreeSet<Key> = BTreeSet::new();
        for key in remove {
            self.release(&key);
            if published.get(&key).is_some() {
                going.insert(key);
            }
        }
        let candidates = self.candidates(set, &mut going, published);
        let (passed, lacking) = self.divide(candidates, &going, published);
        for held in lacking {
            tracing::warn!(kind = ?held.entry.kind, name = %held.entry.name, lacks = ?held.lacks, "held back: it names what is not there");
            let key = held.entry.key();
            for name in &held.lacks {
                self.waiting.entry(name.clone()).or_default().insert(key.clone());
            }
            self.held.insert(key, held);
        }
        let mut set = Vec::with_capacity(passed.len());
        for (key, entry) in passed {
            let before = published.get(&key);
            self.relink(&key, before.as_deref(), Some(&entry), &mut going);
            set.push(entry);
        }
        let remove = self.remove(going, published);
        Passed { set, remove }
    }

    /// Something is published, or gone, that no change asked for. Returns what nothing names any more.
    pub(crate) fn replaced(
        &mut self,
        key: &Key,
        before: Option<&Entry>,
        now: Option<&Entry>,
        published: &impl Published,
    ) -> Vec<Key> {
        let mut going = BTreeSet::new();
        self.relink(key, before, now, &mut going);
        self.remove(going, published)
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    /// What is published and not wanted, with one that names it.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&Key, &Key)> {
        self.kept.iter().filter_map(|key| Some((key, self.named_by.get(key)?.first()?)))
    }

    pub(crate) fn is_settled(&self, key: &Key) -> bool {
        !self.held.contains_key(key) && !self.kept.contains(key)
    }

    fn release(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let held = self.held.remove(key)?;
        for name in &held.lacks {
            if let Some(waiting) = self.waiting.get_mut(name) {
                waiting.remove(key);
                if waiting.is_empty() {
                    self.waiting.remove(name);
                }
            }
        }
        Some(held.entry)
    }

    /// What was asked for, and what was held for a name in it.
    fn candidates(
        &mut self,
        set: impl IntoIterator<Item = Arc<Entry>>,
        going: &mut BTreeSet<Key>,
        published: &impl Published,
    ) -> BTreeMap<Key, Arc<Entry>> {
        let mut candidates = BTreeMap::new();
        let mut new = Vec::new();
        for entry in set {
            let key = entry.key();
            self.release(&key);
            going.remove(&key);
            if self.kept.remove(&key) || published.get(&key).is_none() {
                new.push(key.clone());
            }
            candidates.insert(key, entry);
        }
        while let Some(name) = new.pop() {
            for key in self.waiting.get(&name).cloned().unwrap_or_default() {
                let Some(entry) = self.release(&key) else { continue };
                if published.get(&key).is_none() {
                    new.push(key.clone());
                }
                candidates.entry(key).or_insert(entry);
            }
        }
        candidates
    }

    /// Those that lack nothing, and those that lack something, if only one that lacks something itself.
    fn divide(
        &self,
        mut candidates: BTreeMap<Key, Arc<Entry>>,
        going: &BTreeSet<Key>,
        published: &impl Published,
    ) -> (BTreeMap<Key, Arc<Entry>>, Vec<Held>) {
        let mut lacking = Vec::new();
        loop {
            let there = |name: &Key| {
                candidates.contains_key(name)
                    || published.apart(name)
                    || (!going.contains(name) && !self.kept.contains(name) && published.get(name).is_some())
            };
            let mut found = Vec::new();
            for entry in candidates.values() {
                let lacks: Vec<Key> = entry.names.iter().filter(|name| !there(name)).cloned().collect();
                if !lacks.is_empty() {
                    found.push(Held { entry: entry.clone(), lacks });
                }
            }
            if found.is_empty() {
                return (candidates, lacking);
            }
            for held in found {
                candidates.remove(&held.entry.key());
                lacking.push(held);
            }
        }
    }

    fn relink(&mut self, key: &Key, before: Option<&Entry>, now: Option<&Entry>, going: &mut BTreeSet<Key>) {
        let names = |entry: Option<&Entry>| entry.map(|entry| entry.names.clone()).unwrap_or_default();
        let (old, new) = (names(before), names(now));
        for name in new.iter() {
            self.named_by.entry(name.clone()).or_default().insert(key.clone());
        }
        for name in old.iter().filter(|name| !new.contains(name)) {
            self.unname(name, key, going);
        }
    }

    fn unname(&mut self, name: &Key, by: &Key, going: &mut BTreeSet<Key>) {
        if let Some(users) = self.named_by.get_mut(name) {
            users.remove(by);
            if users.is_empty() {
                self.named_by.remove(name);
            }
        }
        if self.kept.contains(name) {
            going.insert(name.clone());
        }
    }

    /// Of what is to go, all that only what goes too names; the rest is kept.
    fn remove(&mut self, mut going: BTreeSet<Key>, published: &impl Published) -> Vec<Key> {
        let mut removed = Vec::new();
        while !going.is_empty() {
            loop {
                let stays = |key: &&Key| {
                    self.named_by.get(*key).is_some_and(|users| users.iter().any(|user| !going.contains(user)))
                };
                let staying: Vec<Key> = going.iter().filter(stays).cloned().collect();
                if staying.is_empty() {
                    break;
                }
                for key in staying {
                    going.remove(&key);
                    self.kept.insert(key);
                }
            }
            let mut freed = BTreeSet::new();
            for key in &going {
                self.kept.remove(key);
            }
            for key in std::mem::take(&mut going) {
                let names = published.get(&key).map(|entry| entry.names.clone()).unwrap_or_default();
                for name in names.iter() {
                    self.unname(name, &key, &mut freed);
                }
                removed.push(key);
            }
            going = freed;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use xds_api::envoy::config::route::v3::{
        Route, RouteAction, RouteConfiguration, ScopedRouteConfiguration, VirtualHost, route, route_action,
    };
    use xds_api::{Resource, ResourceType as T};

    use super::super::{Apart, Change, Group, GroupKey};
    use super::*;

    fn cluster(name: &str) -> Resource {
        let message = xds_api::envoy::config::cluster::v3::Cluster { name: name.into(), ..Default::default() };
        Resource::encode(T::Cluster, name, &message)
    }

    /// A table whose only route goes to a cluster.
    fn table(name: &str, cluster: &str) -> Resource {
        let action = RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
            ..Default::default()
        };
        let route = Route { action: Some(route::Action::Route(action)), ..Default::default() };
        let host = VirtualHost { name: "v".into(), routes: vec![route], ..Default::default() };
        let message = RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..Default::default() };
        Resource::encode(T::RouteConfiguration, name, &message)
    }

    fn scope(name: &str, table: &str) -> Resource {
        let message = ScopedRouteConfiguration {
            name: name.into(),
            route_configuration_name: table.into(),
            ..Default::default()
        };
        Resource::encode(T::ScopedRoute, name, &message)
    }

    struct Rig(Group);

    impl Rig {
        fn new() -> Self {
            let apart = Apart::new([(T::Cluster, "bootstrap")]);
            Self(Group::new(GroupKey::new("default/web"), apart))
        }

        fn change(&self, set: &[Resource], remove: &[(T, &str)]) {
            let remove = remove.iter().map(|(kind, name)| (*kind, Arc::from(*name))).collect();
            self.0.publish(Change { set: set.to_vec(), remove }, SystemTime::UNIX_EPOCH);
            self.nothing_dangles();
        }

        fn nothing_dangles(&self) {
            for resource in self.0.resources() {
                for (kind, name) in xds_api::references(&resource) {
                    let there = &*name == "bootstrap" || self.0.state(kind).get(&name).is_some();
                    assert!(there, "{} names {name}", resource.name);
                }
            }
        }

        fn names(&self) -> Vec<String> {
            self.0.resources().iter().map(|resource| resource.name.to_string()).collect()
        }

        fn has(&self, resource: &Resource) -> bool {
            self.0.resources().contains(resource)
        }

        fn held(&self) -> Vec<String> {
            self.0.held_back().into_iter().map(|held| format!("{} {}", held.name, held.because.join(","))).collect()
        }
    }

    #[test]
    fn content_that_names_what_is_not_there_is_held_and_what_was_there_stays() {
        let rig = Rig::new();
        rig.change(&[cluster("a"), table("t", "a")], &[]);
        rig.change(&[table("t", "b")], &[]);
        assert!(rig.has(&table("t", "a")), "the last good table stays");
        assert_eq!(rig.held(), ["t lacks cluster b"]);
        rig.change(&[cluster("b")], &[]);
        assert!(rig.has(&table("t", "b")), "the name has come");
        assert!(rig.held().is_empty());
        rig.change(&[table("t", "bootstrap")], &[]);
        assert!(rig.has(&table("t", "bootstrap")), "not of ours, but there");
    }

    #[test]
    fn what_is_held_holds_what_names_it() {
        let rig = Rig::new();
        rig.change(&[cluster("other"), scope("s", "t"), table("t", "a")], &[]);
        assert_eq!(rig.names(), ["other"]);
        assert_eq!(rig.held(), ["t lacks cluster a", "s lacks table t"]);
        rig.change(&[cluster("a")], &[]);
        assert_eq!(rig.names(), ["a", "other", "t", "s"]);
        assert!(rig.held().is_empty());
    }

    #[test]
    fn what_is_named_is_kept_until_nothing_names_it() {
        let rig = Rig::new();
        rig.change(&[cluster("a"), cluster("b"), table("t", "a")], &[]);
        rig.change(&[], &[(T::Cluster, "a")]);
        assert_eq!(rig.names(), ["a", "b", "t"]);
        assert_eq!(rig.held(), ["a kept for table t"]);
        rig.change(&[table("u", "a")], &[]);
        assert_eq!(rig.held(), ["u lacks cluster a", "a kept for table t"], "what goes is no ground to stand on");
        rig.change(&[table("t", "b")], &[]);
        assert_eq!(rig.names(), ["b", "t"]);
        assert_eq!(rig.held(), ["u lacks cluster a"]);
        rig.change(&[], &[(T::RouteConfiguration, "u")]);
        assert!(rig.held().is_empty());
    }

    #[test]
    fn what_goes_together_goes_and_what_changes_together_changes() {
        let rig = Rig::new();
        rig.change(&[cluster("a"), table("t", "a"), scope("s", "t")], &[]);
        rig.change(
            &[cluster("b"), table("u", "b"), scope("s", "u")],
            &[(T::Cluster, "a"), (T::RouteConfiguration, "t")],
        );
        assert_eq!(rig.names(), ["b", "u", "s"]);
        rig.change(&[], &[(T::Cluster, "b"), (T::ScopedRoute, "s"), (T::RouteConfiguration, "u")]);
        assert!(rig.names().is_empty());
    }

    #[test]
    fn a_name_that_comes_back_is_wanted_again() {
        let rig = Rig::new();
        rig.change(&[cluster("a"), table("t", "a")], &[]);
        rig.change(&[], &[(T::Cluster, "a")]);
        rig.change(&[cluster("a")], &[]);
        assert!(rig.held().is_empty());
        rig.change(&[], &[(T::RouteConfiguration, "t")]);
        assert_eq!(rig.names(), ["a"]);
    }

    #[test]
    fn a_whole_new_state_takes_the_place_of_all_that_is_held_or_kept() {
        let rig = Rig::new();
        rig.change(&[cluster("a"), table("t", "a"), table("u", "x")], &[]);
        rig.change(&[], &[(T::Cluster, "a")]);
        rig.0.replace(vec![cluster("b"), table("t", "b")], SystemTime::UNIX_EPOCH);
        rig.nothing_dangles();
        assert_eq!(rig.names(), ["b", "t"]);
        assert!(rig.held().is_empty());
    }

    #[test]
    fn what_an_envoy_rejected_may_be_named() {
        let rig = Rig::new();
        rig.change(&[cluster("bad"), cluster("good"), table("t", "good")], &[]);
        let version = rig.0.state(T::Cluster).get("bad").unwrap().version.clone();
        assert!(rig.0.set_aside(T::Cluster, "bad", &version, "no", SystemTime::UNIX_EPOCH));
        rig.0.publish(
            Change { set: vec![table("t", "bad"), table("u", "good")], remove: Vec::new() },
            SystemTime::UNIX_EPOCH,
        );
        assert!(rig.has(&table("t", "bad")) && rig.has(&table("u", "good")));
        assert!(rig.held().is_empty());
    }

    #[test]
    fn random_changes_never_leave_a_name_dangling_and_end_where_a_new_start_ends() {
        use proptest::prelude::*;
        let name = || prop::sample::select(vec!["a", "b", "c"]);
        let step = (0..6_u8, name(), name());
        let steps = prop::collection::vec(prop::collection::vec(step, 1..4), 1..12);
        proptest!(|(steps in steps)| {
            let rig = Rig::new();
            let mut wanted: BTreeMap<(T, String), Resource> = BTreeMap::new();
            for step in steps {
                let mut change: BTreeMap<(T, String), Option<Resource>> = BTreeMap::new();
                for (what, one, other) in step {
                    let (key, value) = match what {
                        0 => (T::Cluster, Some(cluster(one))),
                        1 => (T::RouteConfiguration, Some(table(one, other))),
                        2 => (T::ScopedRoute, Some(scope(one, other))),
                        3 => (T::Cluster, None),
                        4 => (T::RouteConfiguration, None),
                        _ => (T::ScopedRoute, None),
                    };
                    change.insert((key, one.to_owned()), value);
                }
                let set: Vec<Resource> = change.values().flatten().cloned().collect();
                let gone = change.iter().filter(|(_, value)| value.is_none());
                let remove: Vec<(T, &str)> = gone.map(|((kind, name), _)| (*kind, name.as_str())).collect();
                rig.change(&set, &remove);
                for (key, value) in change {
                    match value {
                        Some(value) => drop(wanted.insert(key, value)),
                        None => drop(wanted.remove(&key)),
                    }
                }
            }
            let names: BTreeSet<(T, String)> = wanted.keys().cloned().collect();
            let whole = wanted.values().all(|resource| {
                xds_api::references(resource).iter().all(|(kind, name)| names.contains(&(*kind, name.to_string())))
            });
            if whole {
                let all: Vec<Resource> = wanted.values().cloned().collect();
                prop_assert_eq!(rig.0.resources(), all);
                prop_assert!(rig.held().is_empty());
            }
        });
    }
}
