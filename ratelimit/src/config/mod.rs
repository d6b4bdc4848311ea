//! The limits in force: domains, each a tree of descriptors, made from the `RateLimitConfig` resources that the
//! stock service is sent as well.
//!
//! A configuration is never changed; a new one takes its place. Each domain stands or falls for itself: one that
//! cannot be accepted keeps the form it had, and says why. The counters are elsewhere and outlive a configuration.

mod build;
mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use xds_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;

use self::pattern::Pattern;
use crate::metrics::RuleStats;
use crate::template::Template;
use crate::unit::Unit;

/// Why a domain, or a resource, was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit domain {domain:?}: {reason}")]
pub struct Refused {
    pub domain: String,
    pub reason: String,
}

#[derive(Debug, Default)]
pub(crate) struct Config {
    domains: FxHashMap<Box<str>, Arc<Domain>>,
    /// Every rule once, by domain and label.
    rules: BTreeMap<(Arc<str>, Arc<str>), Arc<RuleStats>>,
}

#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) name: Arc<str>,
    root: Level,
}

/// The descriptors of one list, by key.
type Level = FxHashMap<Box<str>, Choices>;

/// What stands under one key: in the order in which it is tried.
#[derive(Debug, Default)]
struct Choices {
    exact: FxHashMap<Box<str>, Node>,
    /// Indices of `exact` are by text: a pattern is also found by its own spelling.
    wildcards: Vec<(Pattern, Box<str>)>,
    default: Option<Node>,
}

#[derive(Debug, Default)]
struct Node {
    rule: Option<Arc<Rule>>,
    children: Level,
}

/// A limit as it was configured.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) kind: RuleKind,
    pub(crate) name: String,
    pub(crate) replaces: Vec<String>,
    pub(crate) shadow: bool,
    pub(crate) quota: bool,
    pub(crate) stats: Arc<RuleStats>,
}

#[derive(Debug)]
pub(crate) enum RuleKind {
    Unlimited,
    Limited { unit: Unit, requests: u32, template: Arc<Template> },
}

impl Config {
    /// The configuration after these resources, which are the whole state: a domain that is missing is gone.
    pub(crate) fn update(&self, resources: &[RateLimitConfig]) -> (Self, Vec<Refused>) {
        build::update(self, resources)
    }

    pub(crate) fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domains.get(name)
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<RuleStats>> {
        self.rules.values()
    }

    /// How many limits are in force.
    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }
}

impl Domain {
    /// The rule that stands exactly where the entries end. On each level the exact value comes first, then the
    /// wildcards in the order of the configuration, then the default; there is no way back.
    pub(crate) fn rule(&self, entries: &[Entry]) -> Option<&Arc<Rule>> {
        let mut level = &self.root;
        let mut found = None;
        for entry in entries {
            let node = level.get(entry.key.as_str())?.node(&entry.value)?;
            found = node.rule.as_ref();
            level = &node.children;
        }
        found
    }
}

impl Choices {
    fn node(&self, value: &str) -> Option<&Node> {
        self.exact
            .get(value)
            .or_else(|| {
                let (_, spelling) = self.wildcards.iter().find(|(pattern, _)| pattern.matches(value))?;
                self.exact.get(spelling)
            })
            .or(self.default.as_ref())
    }
}
