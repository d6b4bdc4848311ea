//! What goes stays a while, for requests that are under way.
//!
//! Envoy drops a call of its own (to a service that guards or limits) when the cluster of the call goes, and a route that
//! has not arrived yet may still name a chain of guards that is gone. Either would cost requests. So what is removed is
//! removed late:
//!
//! - clusters, and what belongs to them;
//! - chains inside the filters of guards: an update of such a filter keeps those that it no longer wants.
//!
//! *Invariant*: no route is open because of it. A chain that stays is of use to nobody but routes that name it, and keys
//! are changed within a chain at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{Composite, FilterChainConfiguration};
use xds_api::{Resource, ResourceType, any};
use xds_server::{Change, GroupKey};

/// Longer than routes wait for clusters, and than services that guard are waited for.
const A_WHILE: Duration = Duration::from_secs(20);
/// Of each filter: a policy that is edited all the time must not make it grow without end.
const MOST_CHAINS: usize = 32;

type Name = (ResourceType, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Lingering {
    groups: BTreeMap<GroupKey, Group>,
    /// Who may have something to remove, and when: everything stays equally long.
    times: VecDeque<(Instant, GroupKey)>,
}

#[derive(Debug, Default)]
struct Group {
    /// When what is no longer wanted goes.
    leaving: BTreeMap<Name, Instant>,
    /// By the filter's name.
    guards: BTreeMap<Arc<str>, Guards>,
}

#[derive(Debug)]
struct Guards {
    wanted: Resource,
    /// Chains that are no longer wanted.
    leaving: BTreeMap<String, (Instant, FilterChainConfiguration)>,
}

/// Kinds of which what is removed may still be in use.
fn lingers(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Endpoints | ResourceType::Secret)
}

fn chains(resource: &Resource) -> Option<Composite> {
    let extension = TypedExtensionConfig::decode(resource.body.clone()).ok()?;
    let content = extension.typed_config?;
    content.type_url.ends_with(".Composite").then(|| Composite::decode(content.value).ok())?
}

impl Lingering {
    /// Everything of a group is this now: nothing of before lingers.
    pub(super) fn begin(&mut self, group: &GroupKey, resources: &[Resource]) {
        let filters = resources.iter().filter(|resource| resource.kind == ResourceType::ExtensionConfig);
        let guards = filters.map(|wanted| (wanted.name.clone(), Guards::new(wanted.clone())));
        self.groups.insert(group.clone(), Group { leaving: BTreeMap::new(), guards: guards.collect() });
    }

    /// What to publish of a change now.
    pub(super) fn take(&mut self, key: &GroupKey, mut change: Change, now: Instant) -> Change {
        let group = self.groups.entry(key.clone()).or_default();
        let until = now + A_WHILE;
        let mut any = false;
        for resource in &mut change.set {
            group.leaving.remove(&(resource.kind, resource.name.clone()));
            if resource.kind == ResourceType::ExtensionConfig {
                match group.guards.get_mut(&resource.name) {
                    Some(guards) => {
                        *resource = guards.take(resource.clone(), until);
                        any |= !guards.leaving.is_empty();
                    }
                    None => drop(group.guards.insert(resource.name.clone(), Guards::new(resource.clone()))),
                }
            }
        }
        change.remove.retain(|name| {
            if name.0 == ResourceType::ExtensionConfig {
                group.guards.remove(&name.1);
            }
            if !lingers(name.0) {
                return true;
            }
            group.leaving.insert(name.clone(), until);
            any = true;
            false
        });
        if any {
            self.times.push_back((until, key.clone()));
        }
        change
    }

    /// When something may go next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.times.front().map(|(at, _)| *at)
    }

    /// What goes now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(GroupKey, Change)> {
        let mut due = Vec::new();
        while let Some((_, key)) = self.times.pop_front_if(|(at, _)| *at <= now) {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let set: Vec<Resource> = group.guards.values_mut().filter_map(|guards| guards.due(now)).collect();
            let remove: Vec<Name> = group.leaving.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
            if !set.is_empty() || !remove.is_empty() {
                due.push((key, Change { set, remove }));
            }
        }
        due
    }
}

impl Guards {
    fn new(wanted: Resource) -> Self {
        Self { wanted, leaving: BTreeMap::new() }
    }

    fn take(&mut self, wanted: Resource, until: Instant) -> Resource {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let (Some(before), Some(wanted)) = (chains(&before), chains(&self.wanted)) else { return self.wanted.clone() };
        let gone =
            before.named_filter_chains.into_iter().filter(|(name, _)| !wanted.named_filter_chains.contains_key(name));
        self.leaving.extend(gone.map(|(name, chain)| (name, (until, chain))));
        self.leaving.retain(|name, _| !wanted.named_filter_chains.contains_key(name));
        while self.leaving.len() > MOST_CHAINS {
            let Some(oldest) = self.leaving.iter().min_by_key(|(_, (at, _))| *at).map(|(name, _)| name.clone()) else {
                break;
            };
            self.leaving.remove(&oldest);
        }
        self.with_leaving(wanted)
    }

    fn due(&mut self, now: Instant) -> Option<Resource> {
        let before = self.leaving.len();
        self.leaving.retain(|_, (at, _)| *at > now);
        if self.leaving.len() == before {
            return None;
        }
        Some(chains(&self.wanted).map_or_else(|| self.wanted.clone(), |wanted| self.with_leaving(wanted)))
    }

    fn with_leaving(&self, mut filter: Composite) -> Resource {
        if self.leaving.is_empty() {
            return self.wanted.clone();
        }
        let leaving = self.leaving.iter().map(|(name, (_, chain))| (name.clone(), chain.clone()));
        filter.named_filter_chains.extend(leaving);
        let extension = TypedExtensionConfig { name: self.wanted.name.to_string(), typed_config: Some(any(&filter)) };
        Resource::encode(ResourceType::ExtensionConfig, &self.wanted.name, &extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guards(names: &[&str]) -> Resource {
        let chain = |name: &&str| ((*name).to_owned(), FilterChainConfiguration::default());
        let filter = Composite { named_filter_chains: names.iter().map(chain).collect(), ..Composite::default() };
        let extension = TypedExtensionConfig { name: "guards".to_owned(), typed_config: Some(any(&filter)) };
        Resource::encode(ResourceType::ExtensionConfig, "guards", &extension)
    }

    fn names(change: &Change) -> Vec<String> {
        let filters = change.set.iter().filter_map(chains);
        filters.flat_map(|filter| filter.named_filter_chains.into_keys()).collect()
    }

    #[test]
    fn chains_stay_until_their_time_is_over() {
        let (mut lingering, group, start) = (Lingering::default(), GroupKey::new("a/b"), Instant::now());
        let set = |names: &[&str]| Change { set: vec![guards(names)], remove: Vec::new() };
        lingering.begin(&group, &[guards(&["one", "two"])]);
        assert_eq!(lingering.next(), None);
        assert_eq!(names(&lingering.take(&group, set(&["two", "three"]), start)), ["one", "three", "two"]);
        let later = start + A_WHILE / 2;
        assert_eq!(names(&lingering.take(&group, set(&["three"]), later)), ["one", "three", "two"]);
        // One that comes back is wanted like any other.
        assert_eq!(names(&lingering.take(&group, set(&["one", "three"]), later)), ["one", "three", "two"]);
        assert!(lingering.due(start + A_WHILE).is_empty(), "what came back does not go");
        assert_eq!(lingering.next(), Some(later + A_WHILE));
        let due = lingering.due(later + A_WHILE);
        assert_eq!(due[0].1.set[0].body, guards(&["one", "three"]).body, "what is wanted, as it was made");
        assert_eq!(lingering.next(), None);
    }

    #[test]
    fn clusters_go_later_unless_they_come_back() {
        let (mut lingering, group, start) = (Lingering::default(), GroupKey::new("a/b"), Instant::now());
        let key = |kind, name: &str| (kind, Arc::from(name));
        let (cluster, other) = (key(ResourceType::Cluster, "c"), key(ResourceType::Cluster, "d"));
        let route = key(ResourceType::RouteConfiguration, "r");
        let remove = vec![cluster.clone(), other, route.clone()];
        assert_eq!(lingering.take(&group, Change { set: Vec::new(), remove }, start).remove, [route]);
        let back = Resource::encode(ResourceType::Cluster, "d", &Composite::default());
        lingering.take(&group, Change { set: vec![back], remove: Vec::new() }, start);
        assert_eq!(lingering.due(start + A_WHILE)[0].1.remove, [cluster]);
    }

    #[test]
    fn a_filter_does_not_grow_without_end() {
        let (mut lingering, group, start) = (Lingering::default(), GroupKey::new("a/b"), Instant::now());
        lingering.begin(&group, &[guards(&["0"])]);
        for edit in 1..100_u32 {
            let set = vec![guards(&[&edit.to_string()])];
            let now = start + Duration::from_millis(u64::from(edit));
            let sent = lingering.take(&group, Change { set, remove: Vec::new() }, now);
            assert!(names(&sent).len() <= MOST_CHAINS + 1);
        }
    }
}
