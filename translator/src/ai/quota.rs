//! Backends with quotas: what a route asks about them, and the routes that pass over those that have nothing left.
//!
//! The rate limit service says for each quota whether it is spent; the script `quotas.lua` works out which backends are to be
//! passed over and notes them in a header, and a route for exactly these is chosen.

use std::collections::BTreeSet;

use kinds::ai::AiRouteRule;

use super::attached::ModelMatch;
use super::backends::Share;
use crate::policy::limits::Asked;
use crate::routing::RulePolicies;

/// Names the backends that are passed over, as the sum of their bits.
pub(super) const SKIP_HEADER: &str = "x-chancery-skip";
/// Of so many backends with quotas every combination has a route of its own; of further ones none is passed over.
const MOST: usize = 4;

#[derive(Default)]
pub(super) struct Quotas<'a> {
    pub asked: Vec<Asked<'a>>,
    /// The backends with quotas, by their place in the rule.
    limited: Vec<usize>,
    used: usize,
    orders: Vec<String>,
}

impl<'a> Quotas<'a> {
    pub(super) fn of(
        model: &ModelMatch,
        rule: &AiRouteRule,
        shares: &[&(usize, Option<Share>)],
        policies: &'a RulePolicies<'_>,
    ) -> Self {
        let weight = |at: usize| rule.backend_refs.get(at).map_or(0, |reference| reference.weight);
        let used: Vec<_> = shares.iter().filter(|(at, _)| weight(*at) > 0).collect();
        let mut quotas = Self { used: used.len(), ..Self::default() };
        for (at, share) in used.iter().filter_map(|(at, share)| Some((*at, share.as_ref()?))) {
            let known = match (&share.edits.model, model) {
                (Some(model), _) => Some(model.as_str()),
                (None, ModelMatch::Named(model)) => Some(model.as_str()),
                (None, _) => None,
            };
            let rules = policies.quotas(&share.backend, known);
            if rules.is_empty() || quotas.limited.len() == MOST {
                continue;
            }
            // A quota of the whole backend stands beside those of its models.
            let of_all = |all: bool| if all { "!" } else { "" };
            let ids = rules.iter().map(|rule| {
                let all = rule.about.as_ref().is_some_and(|about| about.model.is_none());
                format!("{}{}", of_all(all), rule.id)
            });
            quotas.orders.push(format!("{}={}", quotas.limited.len(), ids.collect::<Vec<_>>().join(",")));
            quotas.limited.push(at);
            let sole = used.len() == 1;
            quotas.asked.extend(rules.into_iter().map(|rule| Asked { rule, model_known: known.is_some(), sole }));
        }
        quotas
    }

    /// For the script: the bit of each backend, and its quotas; and the bits of all, where nobody else is left.
    pub(super) fn orders(&self) -> Option<(String, String)> {
        if self.limited.is_empty() {
            return None;
        }
        let all = if self.limited.len() == self.used { (1_u32 << self.limited.len()) - 1 } else { 0 };
        Some((self.orders.join(";"), all.to_string()))
    }

    /// Every combination of backends that may have to be passed over, with somebody left.
    pub(super) fn variants(&self) -> Vec<(u32, BTreeSet<usize>)> {
        let combinations = 1_u32..(1 << self.limited.len());
        let skipped = |mask: u32| -> BTreeSet<usize> {
            let bits = self.limited.iter().enumerate().filter(move |(bit, _)| mask & (1 << bit) != 0);
            bits.map(|(_, at)| *at).collect()
        };
        combinations.map(|mask| (mask, skipped(mask))).filter(|(_, skipped)| skipped.len() < self.used).collect()
    }
}
