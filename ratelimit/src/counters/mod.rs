//! The counts: who has spent how much in which window.
//!
//! A counter is touched under the lock of its shard, so that no two requests ever spend the same room; shards are many,
//! so that they seldom meet. A counter whose window is over is worth nothing and is swept away. The number of counters
//! is bounded: where there is no room, a request is told so instead of being counted wrongly or let through.

mod list;
mod store;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use smol_str::SmolStr;

pub use self::list::{Filter, Order, Page, Spending};
pub use self::store::StateError;
use crate::template::{Key, Template, follow};
use crate::unit::{Seconds, Unit};

const SHARDS: usize = 256;

/// There is no room for another counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct Counters {
    shards: Box<[Mutex<Shard>]>,
    /// Drawn at start, so that nobody can choose values that fall together.
    seed: u64,
    live: AtomicUsize,
    max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    table: HashTable<Counter>,
    swept: Seconds,
}

#[derive(Debug)]
struct Counter {
    template: Arc<Template>,
    values: SmolStr,
    /// Hits and open reservations together.
    used: u64,
    /// When the window began; seconds fit until 2106.
    window: u32,
    /// The limit it was last held against, for people to read.
    limit: u32,
    /// What a request of this counter cost lately; 0 where none was settled yet.
    mean: f32,
    /// Reservations of this window that are not settled.
    open: u32,
}

/// What is known about a cost before it is incurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    Given(u64),
    /// The recent mean of the counter, else of its rule, else this.
    MeanOr(u64),
}

/// What a reservation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) amount: u64,
    pub(crate) used: u64,
    /// When the window it counts in began.
    pub(crate) window: Seconds,
}

/// What a counter holds, and how much of that may come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) used: u64,
    pub(crate) open: u32,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settlement {
    pub(crate) window: Seconds,
    pub(crate) limit: u32,
    pub(crate) reserved: u64,
    pub(crate) cost: u64,
    /// Whether the cost says something about the next one.
    pub(crate) learn: bool,
}

impl Counter {
    fn unit(&self) -> Unit {
        self.template.shape.unit
    }

    fn ends(&self) -> Seconds {
        Seconds::from(self.window) + self.unit().seconds()
    }

    /// Opens the window of `now`. A clock that steps back does not reopen one that is over.
    fn turn(&mut self, now: Seconds) {
        if self.ends() <= now {
            self.window = window(self.unit(), now);
            self.used = 0;
            self.open = 0;
        }
    }

    /// A counter that knows what its requests cost is kept through one more window, an hour at most.
    fn is_stale(&self, now: Seconds) -> bool {
        let grace = if self.mean > 0.0 { self.unit().seconds().min(3_600) } else { 0 };
        self.ends() + grace <= now
    }
}

fn window(unit: Unit, now: Seconds) -> u32 {
    u32::try_from(unit.window(now)).unwrap_or(u32::MAX)
}

impl Counters {
    /// Room for `max` counters.
    pub(crate) fn new(max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, seed: std::hash::RandomState::new().hash_one(0), live: AtomicUsize::new(0), max }
    }

    /// How many there are, those whose window is over and that are not swept yet among them.
    pub(crate) fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        // Not the bits that the table itself uses.
        self.shards.get((hash >> 32) as usize % SHARDS)
    }

    fn with<T>(&self, key: &Key, now: Seconds, then: impl FnOnce(&mut Counter) -> T) -> Result<T, Full> {
        let mut shard = self.shard(key.hash).ok_or(Full)?.lock();
        if let Some(counter) = shard.table.find_mut(key.hash, |counter| key.is(&counter.template, &counter.values)) {
            counter.turn(now);
            return Ok(then(counter));
        }
        if self.live.load(Ordering::Relaxed) >= self.max && self.sweep_shard(&mut shard, now) == 0 {
            return Err(Full);
        }
        let seed = self.seed;
        let entry = shard.table.entry(
            key.hash,
            |counter| key.is(&counter.template, &counter.values),
            |counter| hash(&counter.template, &counter.values, seed),
        );
        let mut occupied = match entry {
            Entry::Occupied(occupied) => occupied,
            Entry::Vacant(vacant) => {
                self.live.fetch_add(1, Ordering::Relaxed);
                vacant.insert(Counter {
                    template: Arc::clone(&key.template),
                    values: key.values.clone(),
                    used: 0,
                    window: window(key.template.shape.unit, now),
                    limit: 0,
                    mean: 0.0,
                    open: 0,
                })
            }
        };
        Ok(then(occupied.get_mut()))
    }

    /// How things stand, without a trace of the question.
    pub(crate) fn balance(&self, key: &Key, now: Seconds) -> Balance {
        let Some(shard) = self.shard(key.hash) else { return Balance::default() };
        let shard = shard.lock();
        let found = shard.table.find(key.hash, |counter| key.is(&counter.template, &counter.values));
        let found = found.filter(|counter| counter.ends() > now);
        found.map_or_else(Balance::default, |counter| Balance { used: counter.used, open: counter.open })
    }

    /// Adds hits, whatever the limit, and says what is spent now.
    pub(crate) fn charge(&self, key: &Key, limit: u32, hits: u64, now: Seconds) -> Result<u64, Full> {
        self.with(key, now, |counter| {
            counter.limit = limit;
            counter.used = counter.used.saturating_add(hits);
            counter.used
        })
    }

    /// Gives hits back, never more than were spent.
    pub(crate) fn refund(&self, key: &Key, limit: u32, hits: u64, now: Seconds) -> Result<u64, Full> {
        self.with(key, now, |counter| {
            counter.limit = limit;
            counter.used = counter.used.saturating_sub(hits);
            counter.used
        })
    }

    /// Takes room for a cost that is not known yet. With `enforced`, no more than there is, and nothing (`None`) when
    /// there is none: the last one admitted holds whatever was left, and nobody passes until it is settled.
    pub(crate) fn reserve(
        &self,
        key: &Key,
        limit: u32,
        estimate: Estimate,
        enforced: bool,
        now: Seconds,
    ) -> Result<Option<Reserved>, Full> {
        self.with(key, now, |counter| {
            counter.limit = limit;
            let left = u64::from(limit).saturating_sub(counter.used);
            let wanted = match estimate {
                Estimate::Given(amount) => amount,
                Estimate::MeanOr(unknown) => {
                    let mean = if counter.mean > 0.0 { counter.mean } else { counter.template.mean() };
                    if mean > 0.0 { amount(mean) } else { unknown }
                }
            };
            if enforced && left == 0 {
                return None;
            }
            let amount = if enforced { wanted.min(left) } else { wanted };
            counter.used = counter.used.saturating_add(amount);
            counter.open = counter.open.saturating_add(1);
            Some(Reserved { amount, used: counter.used, window: counter.window.into() })
        })
    }

    /// Replaces a reservation by the cost. In a later window, which the reservation does not count in, what the cost
    /// was more than it is charged: neither free nor paid twice.
    pub(crate) fn settle(&self, key: &Key, settlement: &Settlement, now: Seconds) -> Result<(), Full> {
        let Settlement { window, limit, reserved, cost, learn } = *settlement;
        self.with(key, now, |counter| {
            if Seconds::from(counter.window) == window {
                counter.used = counter.used.saturating_sub(reserved).saturating_add(cost);
                counter.open = counter.open.saturating_sub(1);
            } else {
                counter.used = counter.used.saturating_add(cost.saturating_sub(reserved));
            }
            if counter.limit == 0 {
                counter.limit = limit;
            }
            if learn {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let cost = cost as f32;
                counter.mean = follow(counter.mean, cost);
                counter.template.learn(cost);
            }
        })
    }

    /// Puts the counter of these entries to nothing spent. Whether there was one.
    pub(crate) fn reset(&self, domain: &str, unit: Unit, entries: &[(&str, &str)]) -> bool {
        let shape = crate::template::Shape {
            domain: domain.into(),
            unit,
            entries: entries.iter().map(|(key, _)| ((*key).into(), None)).collect(),
        };
        let key = Key::new(&Template::new(shape), entries.iter().copied(), self.seed, &mut Vec::new());
        let Some(shard) = self.shard(key.hash) else { return false };
        let mut shard = shard.lock();
        let found = shard.table.find_mut(key.hash, |counter| key.is(&counter.template, &counter.values));
        found.map(|counter| counter.used = 0).is_some()
    }

    /// Takes away the counters whose window is over.
    pub(crate) fn sweep(&self, now: Seconds) -> usize {
        self.shards.iter().map(|shard| self.sweep_shard(&mut shard.lock(), now)).sum()
    }

    /// At most once a second for one shard, so that a full table costs no more than an empty one.
    fn sweep_shard(&self, shard: &mut Shard, now: Seconds) -> usize {
        if shard.swept == now {
            return 0;
        }
        shard.swept = now;
        let before = shard.table.len();
        shard.table.retain(|counter| !counter.is_stale(now));
        let gone = before - shard.table.len();
        if shard.table.capacity() > 4 * shard.table.len().max(64) {
            let seed = self.seed;
            let room = 2 * shard.table.len();
            shard.table.shrink_to(room, |counter| hash(&counter.template, &counter.values, seed));
        }
        self.live.fetch_sub(gone, Ordering::Relaxed);
        gone
    }
}

fn hash(template: &Arc<Template>, values: &str, seed: u64) -> u64 {
    Key::new(template, crate::template::entries(template, values), seed, &mut Vec::new()).hash
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; an estimate")]
fn amount(mean: f32) -> u64 {
    mean.ceil() as u64
}
