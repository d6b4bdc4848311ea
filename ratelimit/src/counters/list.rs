//! Counters for people: who has spent what, what is left, when it starts over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;

use super::{Counter, Counters};
use crate::template;
use crate::unit::{Seconds, Unit};

/// Which counters, and how many.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Only this domain.
    pub domain: Option<String>,
    /// Only counters with this text in an entry, `key=value`.
    pub contains: Option<String>,
    pub order: Order,
    /// How many to leave out, and how many to show at most.
    pub offset: usize,
    pub count: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { domain: None, contains: None, order: Order::Path, offset: 0, count: 100 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By domain and entries.
    Path,
    /// Those closest to their limit first.
    Pressure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// How many there are in all.
    pub total: usize,
    pub counters: Vec<Spending>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Spending {
    pub domain: String,
    /// Keys and values as the requests carry them.
    pub entries: Vec<(String, String)>,
    pub unit: &'static str,
    pub limit: u32,
    /// Settled cost and counted hits.
    pub spent: u64,
    /// Held for requests under way.
    pub reserved: u64,
    pub remaining: u64,
    /// Unix time.
    pub resets_at: Seconds,
}

/// What an entry is ordered by: pressure in millionths, the greatest first, then the path.
type Rank = (Reverse<u64>, Spending);

impl Counters {
    /// The counters whose window is open, one page of them. `reserved` says what is held for requests under way, by
    /// the counter's hash.
    pub(crate) fn list(&self, filter: &Filter, now: Seconds, reserved: impl Fn(u64, Seconds) -> u64) -> Page {
        let room = filter.offset.saturating_add(filter.count);
        let mut total = 0;
        // The greatest is on top and leaves first: what stays is the beginning of the list.
        let mut first: BinaryHeap<Rank> = BinaryHeap::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for counter in shard.table.iter().filter(|counter| counter.ends() > now && filter.wants(counter)) {
                total += 1;
                let hash = super::hash(&counter.template, &counter.values, self.seed);
                let spending = counter.spending(reserved(hash, counter.window.into()));
                let pressure = match filter.order {
                    Order::Path => 0,
                    Order::Pressure => counter.used.saturating_mul(1_000_000) / u64::from(counter.limit.max(1)),
                };
                first.push((Reverse(pressure), spending));
                if first.len() > room {
                    first.pop();
                }
            }
        }
        let counters = first.into_sorted_vec().into_iter().skip(filter.offset).map(|(_, spending)| spending).collect();
        Page { total, counters }
    }
}

impl Filter {
    fn wants(&self, counter: &Counter) -> bool {
        self.domain.as_ref().is_none_or(|domain| **domain == *counter.template.shape.domain)
            && self.contains.as_ref().is_none_or(|part| {
                template::entries(&counter.template, &counter.values)
                    .any(|(key, value)| format!("{key}={value}").contains(part))
            })
    }
}

impl Counter {
    fn spending(&self, reserved: u64) -> Spending {
        let entries = template::entries(&self.template, &self.values);
        let reserved = reserved.min(self.used);
        Spending {
            domain: self.template.shape.domain.to_string(),
            entries: entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            unit: self.unit().name(),
            limit: self.limit,
            spent: self.used - reserved,
            reserved,
            remaining: u64::from(self.limit).saturating_sub(self.used),
            resets_at: self.ends(),
        }
    }
}

impl Spending {
    /// The unit as the counters know it.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        Unit::from_name(self.unit)
    }
}
