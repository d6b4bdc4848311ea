//! Costs that are not known yet: what a check has taken room for, until the end of the request says what it was.
//!
//! A reservation that nobody settles stays spent, so a stream that breaks loses nothing and gives nothing away. It is
//! settled at most once. Each is forgotten after a time, and the oldest are when there are too many: they stay spent
//! as well.

use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use crate::template::Key;
use crate::unit::Seconds;

const SHARDS: usize = 64;

/// The key of the last entry of a descriptor that reserves. Its value says where the cost will be found: the namespace
/// and the key of dynamic metadata, as `io.envoy.ai_gateway:llm_total_token`. The entry takes no part in matching.
pub const RESERVE_KEY: &str = "chancery.reserve";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub(crate) u64);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ReservationId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What one descriptor has reserved.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) key: Key,
    pub(crate) window: Seconds,
    pub(crate) limit: u32,
    pub(crate) amount: u64,
    /// Where the cost will be found.
    pub(crate) source: SmolStr,
}

#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) held: Vec<Held>,
}

#[derive(Debug, Default)]
struct Shard {
    open: FxHashMap<u64, Reservation>,
    /// In the order in which they were made, those that are settled among them.
    order: VecDeque<(Seconds, u64)>,
}

#[derive(Debug)]
pub(crate) struct Reservations {
    shards: Box<[Mutex<Shard>]>,
    next: AtomicU64,
    open: AtomicUsize,
    forgotten: AtomicU64,
    max_per_shard: usize,
    lifetime: Seconds,
}

impl Reservations {
    pub(crate) fn new(max: usize, lifetime: Seconds) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            // An id from before a restart must not meet one from after it.
            next: AtomicU64::new(std::hash::RandomState::new().hash_one(0)),
            open: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
            max_per_shard: (max / SHARDS).max(1),
            lifetime,
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were never settled.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn shard(&self, id: u64) -> Option<&Mutex<Shard>> {
        self.shards.get(id as usize % SHARDS)
    }

    pub(crate) fn open(&self, held: Vec<Held>, now: Seconds) -> ReservationId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(shard) = self.shard(id) {
            let mut shard = shard.lock();
            shard.open.insert(id, Reservation { held });
            shard.order.push_back((now, id));
            self.open.fetch_add(1, Ordering::Relaxed);
            self.forget(&mut shard, now);
        }
        ReservationId(id)
    }

    /// Hands the reservation out to be settled; to the first who asks.
    pub(crate) fn take(&self, id: ReservationId) -> Option<Reservation> {
        let taken = self.shard(id.0)?.lock().open.remove(&id.0)?;
        self.open.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    fn forget(&self, shard: &mut Shard, now: Seconds) {
        while let Some((made, id)) = shard.order.front().copied() {
            let settled = !shard.open.contains_key(&id);
            let old = made.saturating_add(self.lifetime) <= now;
            if !(settled || old || shard.open.len() > self.max_per_shard) {
                break;
            }
            shard.order.pop_front();
            if shard.open.remove(&id).is_some() {
                self.open.fetch_sub(1, Ordering::Relaxed);
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        }
        // One that stays open for long must not hold up the settled ones behind it.
        let Shard { open, order } = shard;
        if order.len() > 2 * open.len() + 1024 {
            order.retain(|(_, id)| open.contains_key(id));
        }
    }

    pub(crate) fn sweep(&self, now: Seconds) {
        for shard in &self.shards {
            self.forget(&mut shard.lock(), now);
        }
    }

    /// What is held in all, by counter and window.
    pub(crate) fn held(&self) -> FxHashMap<(u64, Seconds), u64> {
        let mut sums = FxHashMap::default();
        for shard in &self.shards {
            let shard = shard.lock();
            // Sums do not depend on the order in which they are made.
            #[expect(clippy::iter_over_hash_type, reason = "a sum")]
            for reservation in shard.open.values() {
                for held in &reservation.held {
                    *sums.entry((held.key.hash, held.window)).or_insert(0) += held.amount;
                }
            }
        }
        sums
    }
}
