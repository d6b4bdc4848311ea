//! What goes stays a while, for requests that are under way.
//!
//! Envoy drops a call of its own (to a service that guards or limits) when the cluster of the call goes, and a route that
//! has not arrived yet may still name a chain of guards that is gone. Either would cost requests. So what is removed is
//! removed late:
//!
//! - clusters, and what belongs to them;
//! - chains inside the filters of guards: an update of such a filter keeps those that it no longer wants;
//! - filters that no route uses any more.
//!
//! *Invariant*: no route is open because of it. A chain that stays is of use to nobody but routes that name it, and keys
//! are changed within a chain at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::{Message, Name as _};
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{Composite, FilterChainConfiguration};
use xds_api::envoy::extensions::filters::http::filter_chain::v3::FilterChainConfig;
use xds_api::google::protobuf::Any;
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
    /// By name.
    filters: BTreeMap<Arc<str>, Filter>,
}

#[derive(Debug)]
struct Filter {
    wanted: Resource,
    /// Chains that are no longer wanted.
    leaving: BTreeMap<String, (Instant, FilterChainConfiguration)>,
    /// What the filter was before it became nothing.
    unused: Option<(Instant, Resource)>,
}

/// Kinds of which what is removed may still be in use.
fn lingers(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Endpoints | ResourceType::Secret)
}

fn content(resource: &Resource) -> Option<Any> {
    TypedExtensionConfig::decode(resource.body.clone()).ok()?.typed_config
}

fn chains(resource: &Resource) -> Option<Composite> {
    let content = content(resource)?;
    content.type_url.ends_with(".Composite").then(|| Composite::decode(content.value).ok())?
}

/// Whether a filter is none.
fn is_nothing(resource: &Resource) -> bool {
    content(resource).is_some_and(|content| content.type_url == FilterChainConfig::type_url())
}

impl Lingering {
    /// Everything of a group is this now: nothing of before lingers.
    pub(super) fn begin(&mut self, group: &GroupKey, resources: &[Resource]) {
        let filters = resources.iter().filter(|resource| resource.kind == ResourceType::ExtensionConfig);
        let filters = filters.map(|wanted| (wanted.name.clone(), Filter::new(wanted.clone())));
        self.groups.insert(group.clone(), Group { leaving: BTreeMap::new(), filters: filters.collect() });
    }

    /// What to publish of a change now.
    pub(super) fn take(&mut self, key: &GroupKey, mut change: Change, now: Instant) -> Change {
        let group = self.groups.entry(key.clone()).or_default();
        let until = now + A_WHILE;
        let mut any = false;
        for resource in &mut change.set {
            group.leaving.remove(&(resource.kind, resource.name.clone()));
            if resource.kind == ResourceType::ExtensionConfig {
                match group.filters.get_mut(&resource.name) {
                    Some(filter) => {
                        *resource = filter.take(resource.clone(), until);
                        any |= filter.lingers();
                    }
                    None => drop(group.filters.insert(resource.name.clone(), Filter::new(resource.clone()))),
                }
            }
        }
        change.remove.retain(|name| {
            if name.0 == ResourceType::ExtensionConfig {
                group.filters.remove(&name.1);
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
            let set: Vec<Resource> = group.filters.values_mut().filter_map(|filter| filter.due(now)).collect();
            let remove: Vec<Name> = group.leaving.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
            if !set.is_empty() || !remove.is_empty() {
                due.push((key, Change { set, remove }));
            }
        }
        due
    }
}

impl Filter {
    fn new(wanted: Resource) -> Self {
        Self { wanted, leaving: BTreeMap::new(), unused: None }
    }

    fn lingers(&self) -> bool {
        !self.leaving.is_empty() || self.unused.is_some()
    }

    fn take(&mut self, wanted: Resource, until: Instant) -> Resource {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let stay = chains(&self.wanted).unwrap_or_default().named_filter_chains;
        let had = chains(&before).unwrap_or_default().named_filter_chains;
        if !is_nothing(&self.wanted) {
            self.unused = None;
        } else if !is_nothing(&before) && had.is_empty() {
            self.unused = Some((until, before));
        }
        let gone = had.into_iter().filter(|(name, _)| !stay.contains_key(name));
        self.leaving.extend(gone.map(|(name, chain)| (name, (until, chain))));
        self.leaving.retain(|name, _| !stay.contains_key(name));
        while self.leaving.len() > MOST_CHAINS {
            let Some(oldest) = self.leaving.iter().min_by_key(|(_, (at, _))| *at).map(|(name, _)| name.clone()) else {
                break;
            };
            self.leaving.remove(&oldest);
        }
        self.now()
    }

    fn due(&mut self, now: Instant) -> Option<Resource> {
        let before = (self.leaving.len(), self.unused.is_some());
        self.leaving.retain(|_, (at, _)| *at > now);
        self.unused.take_if(|(at, _)| *at <= now);
        ((self.leaving.len(), self.unused.is_some()) != before).then(|| self.now())
    }

    /// What is wanted, and what lingers.
    fn now(&self) -> Resource {
        if let Some((_, unused)) = &self.unused {
            return unused.clone();
        }
        if self.leaving.is_empty() {
            return self.wanted.clone();
        }
        let mut filter = chains(&self.wanted).unwrap_or_default();
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
    fn a_filter_that_nobody_uses_any_more_goes_later() {
        let (mut lingering, group, start) = (Lingering::default(), GroupKey::new("a/b"), Instant::now());
        let resource = |name: &str, config| {
            let extension = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) };
            Resource::encode(ResourceType::ExtensionConfig, name, &extension)
        };
        let nothing = |name| resource(name, any(&FilterChainConfig::default()));
        let used = resource("fault", any(&Composite::default()));
        let set = |resource: &Resource| Change { set: vec![resource.clone()], remove: Vec::new() };
        lingering.begin(&group, &[used.clone(), guards(&["one"]), nothing("new")]);
        assert_eq!(lingering.take(&group, set(&nothing("fault")), start).set, std::slice::from_ref(&used));
        assert_eq!(names(&lingering.take(&group, set(&nothing("guards")), start)), ["one"]);
        let later = start + A_WHILE;
        assert_eq!(lingering.due(later)[0].1.set, [nothing("fault"), nothing("guards")]);
        // One that is used for the first time, or again, is there at once.
        lingering.take(&group, set(&used), later);
        lingering.take(&group, set(&nothing("fault")), later);
        assert_eq!(lingering.take(&group, set(&used), later).set, std::slice::from_ref(&used));
        assert!(lingering.due(later + A_WHILE).is_empty());
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
