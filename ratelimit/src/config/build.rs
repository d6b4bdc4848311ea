//! Resources into trees, and what the stock service would refuse, domain by domain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use xds_api::ratelimit::config::ratelimit::v3::{RateLimitConfig, RateLimitDescriptor, RateLimitPolicy};

use super::{Config, Domain, Level, Node, Pattern, Refused, Rule, RuleKind};
use crate::metrics::RuleStats;
use crate::template::{Shape, Template};
use crate::unit::Unit;

pub(super) fn update(previous: &Config, resources: &[RateLimitConfig]) -> (Config, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut domains: FxHashMap<Box<str>, Arc<Domain>> = FxHashMap::default();
    let mut rules = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for resource in resources {
        let mut refuse = |reason: String| refused.push(Refused { domain: resource.domain.clone(), reason });
        if resource.domain.is_empty() {
            refuse("has no name".to_owned());
            continue;
        }
        if !seen.insert(resource.domain.as_str()) {
            refuse("is configured twice; the first configuration counts".to_owned());
            continue;
        }
        let mut builder = Builder { previous, domain: Arc::from(resource.domain.as_str()), rules: BTreeMap::new() };
        let domain = match builder.level(&resource.descriptors, &mut Vec::new()) {
            Ok(root) => Some(Arc::new(Domain { name: Arc::clone(&builder.domain), root })),
            Err(reason) => {
                refuse(reason);
                builder.rules = previous
                    .rules
                    .iter()
                    .filter(|((domain, _), _)| *domain == builder.domain)
                    .map(|(key, stats)| (key.clone(), Arc::clone(stats)))
                    .collect();
                previous.domain(&resource.domain).cloned()
            }
        };
        if let Some(domain) = domain {
            domains.insert(resource.domain.as_str().into(), domain);
            rules.append(&mut builder.rules);
        }
    }
    (Config { domains, rules }, refused)
}

struct Builder<'a> {
    previous: &'a Config,
    domain: Arc<str>,
    rules: BTreeMap<(Arc<str>, Arc<str>), Arc<RuleStats>>,
}

/// A step from the root: the key, the value as it was configured, and whether a request may bring another.
struct Step<'a> {
    key: &'a str,
    value: &'a str,
    open: bool,
}

impl Builder<'_> {
    fn level<'d>(&mut self, descriptors: &'d [RateLimitDescriptor], path: &mut Vec<Step<'d>>) -> Result<Level, String> {
        let mut level = Level::default();
        for descriptor in descriptors {
            if descriptor.key.is_empty() {
                return Err(format!("a descriptor{} has no key", within(path)));
            }
            let pattern = Pattern::new(&descriptor.value);
            let open = descriptor.value.is_empty() || pattern.is_some();
            path.push(Step { key: &descriptor.key, value: &descriptor.value, open });
            let node = Node {
                rule: self.rule(descriptor, path)?.map(Arc::new),
                children: self.level(&descriptor.descriptors, path)?,
            };
            let choices = level.entry(descriptor.key.as_str().into()).or_default();
            let twice = if descriptor.value.is_empty() {
                choices.default.replace(node).is_some()
            } else {
                if let Some(pattern) = pattern {
                    choices.wildcards.push((pattern, descriptor.value.as_str().into()));
                }
                choices.exact.insert(descriptor.value.as_str().into(), node).is_some()
            };
            if twice {
                return Err(format!("descriptor {} is configured twice", label(path)));
            }
            path.pop();
        }
        Ok(level)
    }

    fn rule(&mut self, descriptor: &RateLimitDescriptor, path: &[Step<'_>]) -> Result<Option<Rule>, String> {
        let Some(policy) = &descriptor.rate_limit else { return Ok(None) };
        let label: Arc<str> = label(path).into();
        let kind = self.kind(policy, path)?;
        let replaces: Vec<String> = policy.replaces.iter().map(|replace| replace.name.clone()).collect();
        if replaces.iter().any(String::is_empty) {
            return Err(format!("descriptor {label} replaces a limit without a name"));
        }
        if !policy.name.is_empty() && replaces.contains(&policy.name) {
            return Err(format!("descriptor {label} replaces itself"));
        }
        let key = (Arc::clone(&self.domain), Arc::clone(&label));
        let stats = self.previous.rules.get(&key).cloned();
        let stats = stats.unwrap_or_else(|| Arc::new(RuleStats::new(Arc::clone(&self.domain), label)));
        self.rules.insert(key, Arc::clone(&stats));
        Ok(Some(Rule {
            kind,
            name: policy.name.clone(),
            replaces,
            shadow: descriptor.shadow_mode,
            quota: descriptor.quota_mode,
            stats,
        }))
    }

    fn kind(&self, policy: &RateLimitPolicy, path: &[Step<'_>]) -> Result<RuleKind, String> {
        match (policy.unlimited, policy.unit) {
            (true, 0) => Ok(RuleKind::Unlimited),
            (true, _) => Err(format!("descriptor {} is unlimited and has a unit", label(path))),
            (false, number) => {
                let unit =
                    Unit::from_number(number).ok_or_else(|| format!("descriptor {} has no valid unit", label(path)))?;
                let entries =
                    path.iter().map(|step| (step.key.into(), (!step.open).then(|| step.value.into()))).collect();
                let template = Template::new(Shape { domain: Arc::clone(&self.domain), unit, entries });
                Ok(RuleKind::Limited { unit, requests: policy.requests_per_unit, template })
            }
        }
    }
}

fn within(path: &[Step<'_>]) -> String {
    if path.is_empty() { String::new() } else { format!(" under {}", label(path)) }
}

/// How a rule is called in metrics and messages: `tenant=a, model`.
fn label(path: &[Step<'_>]) -> String {
    let steps = path.iter().map(|step| match step.value {
        "" => step.key.to_owned(),
        value => format!("{}={value}", step.key),
    });
    steps.collect::<Vec<_>>().join(", ")
}
