//! Whether what a Gateway says is so at its Envoys: what those that are connected made of the newest configuration.
//!
//! Each replica sees its own Envoys and tells the others of Gateways that have some; who leads says what is so of all.
//!
//! It is looked at again and again, and not at each acknowledgement, of which there are thousands. A Gateway's status that
//! the translation has changed waits for such a look, so that it is written once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kinds::{Kind, ObjectId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sources::kubernetes::{Board, Words};
use tokio::sync::watch;
use tokio::time::Instant;
use translator::{Condition, Status};
use xds_server::{Fleet, GroupKey, Rejection, Snapshots, Standing};

use super::View;

/// How often the fleet is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// What was published before that has reached the streams.
const SENT: Duration = Duration::from_millis(50);
/// Envoys that are behind for less than this have an edit on its way.
const GRACE: Duration = Duration::from_secs(2);

/// Cloning it is cheap: all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Programmed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fleet: Fleet,
    snapshots: Snapshots,
    view: Arc<ArcSwap<View>>,
    board: Board,
    /// What is told to other replicas, and what they tell.
    own: watch::Sender<Arc<str>>,
    others: watch::Receiver<Words>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    verdicts: BTreeMap<ObjectId, Known>,
    /// Gateways whose status has changed, with the moment.
    told: BTreeMap<ObjectId, Instant>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    verdict: Verdict,
    /// The newest generation that every Envoy had.
    reached: i64,
    behind_since: Option<Instant>,
    /// How many Envoys there are of it here.
    connected: usize,
    /// With what other replicas say.
    together: Verdict,
}

/// What a replica tells of a Gateway that has Envoys there.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    connected: usize,
    reached: i64,
    #[serde(default, skip_serializing_if = "Verdict::is_good")]
    verdict: Verdict,
}

/// What speaks against a Gateway's being programmed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Verdict {
    /// Every Envoy that is connected has everything.
    #[default]
    InStep,
    Behind {
        connected: usize,
        behind: usize,
    },
    /// Envoy's own words.
    Rejected(String),
}

impl Programmed {
    pub(super) fn new(
        fleet: Fleet,
        snapshots: Snapshots,
        view: Arc<ArcSwap<View>>,
        board: Board,
        (own, others): (watch::Sender<Arc<str>>, watch::Receiver<Words>),
    ) -> Self {
        Self(Arc::new(Shared { fleet, snapshots, view, board, own, others, state: Mutex::default() }))
    }

    /// The statuses of these objects have changed.
    pub(super) fn tell(&self, ids: impl IntoIterator<Item = ObjectId>) {
        let (gateways, others): (Vec<ObjectId>, Vec<ObjectId>) =
            ids.into_iter().partition(|id| id.kind == Kind::Gateway);
        let now = Instant::now();
        self.0.state.lock().told.extend(gateways.into_iter().map(|gateway| (gateway, now)));
        self.0.board.changed(others);
    }

    /// Looks until the process ends.
    pub(super) async fn watch(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let changed = self.look(Instant::now());
            if !changed.is_empty() {
                self.0.board.changed(changed);
            }
        }
    }

    /// The Gateways of which there is something new to say.
    fn look(&self, now: Instant) -> BTreeSet<ObjectId> {
        let standings = self.0.fleet.standings();
        let rejections = self.0.snapshots.rejections();
        let view = self.0.view.load();
        let mut state = self.0.state.lock();
        let (due, told): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.told).into_iter().partition(|(_, at)| now.duration_since(*at) >= SENT);
        state.told = told;
        let mut changed: BTreeSet<ObjectId> = due.into_keys().collect();
        let first = ObjectId::new(Kind::Gateway, "", "");
        let gateways = view.statuses.range(first..).take_while(|(id, _)| id.kind == Kind::Gateway);
        let mut verdicts = BTreeMap::new();
        let others: Vec<BTreeMap<String, Told>> =
            self.0.others.borrow().values().filter_map(|words| serde_json::from_str(words).ok()).collect();
        let mut told_to_others = BTreeMap::new();
        for (id, status) in gateways {
            let before = state.verdicts.get(id).cloned().unwrap_or_default();
            let name = format!("{}/{}", id.namespace, id.name);
            let known = if state.told.contains_key(id) {
                before
            } else {
                let key = GroupKey::new(&name);
                let standing = standings.get(&key).cloned().unwrap_or_default();
                let rejection = rejections.iter().find(|rejection| rejection.gateway == key);
                let mut known = judge(&before, status.generation, standing, rejection, now);
                let elsewhere = others.iter().filter_map(|told| told.get(&name));
                known.together = known.verdict.clone().with(status.generation, elsewhere);
                if known.together != before.together {
                    changed.insert(id.clone());
                }
                known
            };
            if known.connected > 0 {
                let Known { connected, reached, ref verdict, .. } = known;
                told_to_others.insert(name, Told { connected, reached, verdict: verdict.clone() });
            }
            verdicts.insert(id.clone(), known);
        }
        state.verdicts = verdicts;
        let words = serde_json::to_string(&told_to_others).unwrap_or_default();
        self.0.own.send_if_modified(|before| {
            let news = **before != *words;
            if news {
                *before = words.into();
            }
            news
        });
        changed
    }

    /// The status of a Gateway with what its Envoys say of it.
    pub(super) fn overlay(&self, id: &ObjectId, status: &mut Status) {
        let verdict = self.0.state.lock().verdicts.get(id).map(|known| known.together.clone()).unwrap_or_default();
        verdict.overlay(status);
    }
}

/// What Envoys reject, laid over statuses for whoever looks at them now.
#[derive(Debug)]
pub(super) struct Rejected {
    standings: BTreeMap<GroupKey, Standing>,
    rejections: Vec<Rejection>,
}

impl Rejected {
    pub(super) fn now(fleet: &Fleet, snapshots: &Snapshots) -> Self {
        Self { standings: fleet.standings(), rejections: snapshots.rejections() }
    }

    pub(super) fn overlay(&self, id: &ObjectId, status: &mut Status) {
        if id.kind != Kind::Gateway {
            return;
        }
        let key = GroupKey::new(&format!("{}/{}", id.namespace, id.name));
        let standing = self.standings.get(&key).cloned().unwrap_or_default();
        let rejection = self.rejections.iter().find(|rejection| rejection.gateway == key);
        if let Some(verdict) = rejected(rejection, standing.rejected) {
            verdict.overlay(status);
        }
    }
}

fn rejected(rejection: Option<&Rejection>, words: Option<String>) -> Option<Verdict> {
    if let Some(rejection) = rejection {
        let Rejection { name, message, .. } = rejection;
        return Some(Verdict::Rejected(format!("Envoy rejects {name}, what it had before stays: {message}")));
    }
    words.map(|words| Verdict::Rejected(format!("Envoy rejects the newest configuration: {words}")))
}

impl Verdict {
    fn is_good(&self) -> bool {
        *self == Self::InStep
    }

    /// The verdict of all replicas together: what one of them rejects is rejected.
    fn with<'a>(self, generation: i64, others: impl Iterator<Item = &'a Told>) -> Self {
        others.fold(self, |verdict, told| {
            let late = told.reached != generation;
            let theirs = match &told.verdict {
                Self::InStep if late => Self::Behind { connected: told.connected, behind: told.connected },
                theirs => theirs.clone(),
            };
            match (verdict, theirs) {
                (verdict @ Self::Rejected(_), _) => verdict,
                (_, theirs @ Self::Rejected(_)) => theirs,
                (Self::Behind { connected, behind }, Self::Behind { connected: more, behind: also }) => {
                    Self::Behind { connected: connected + more, behind: behind + also }
                }
                (Self::InStep, theirs) => theirs,
                (verdict, Self::InStep) => verdict,
            }
        })
    }

    fn overlay(self, status: &mut Status) {
        let (reason, message) = match self {
            Self::InStep => return,
            Self::Behind { connected, behind } => {
                ("Pending", format!("{behind} of {connected} Envoys have not acknowledged the newest configuration"))
            }
            Self::Rejected(words) => ("Invalid", words),
        };
        for condition in status.conditions.iter_mut().filter(|condition| condition.kind == "Programmed") {
            if condition.holds {
                *condition = Condition::no("Programmed", reason, message.clone());
            }
        }
    }
}

fn judge(before: &Known, generation: i64, standing: Standing, rejection: Option<&Rejection>, now: Instant) -> Known {
    let in_step = standing.in_step == standing.connected;
    let behind_since = (!in_step).then(|| before.behind_since.unwrap_or(now));
    let reached = if in_step { generation } else { before.reached };
    let late = behind_since.is_some_and(|since| now.duration_since(since) >= GRACE);
    let verdict = if let Some(verdict) = rejected(rejection, standing.rejected) {
        verdict
    } else if !in_step && (late || reached != generation) {
        Verdict::Behind { connected: standing.connected, behind: standing.connected - standing.in_step }
    } else {
        Verdict::InStep
    };
    Known { verdict, reached, behind_since, connected: standing.connected, together: Verdict::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(connected: usize, in_step: usize) -> Standing {
        Standing { connected, in_step, ..Standing::default() }
    }

    const BEHIND: Verdict = Verdict::Behind { connected: 2, behind: 1 };

    #[test]
    fn an_edit_on_its_way_is_no_news_and_a_new_generation_waits_for_every_envoy() {
        let now = Instant::now();
        let reached = judge(&Known::default(), 1, standing(2, 2), None, now);
        assert_eq!((reached.verdict.clone(), reached.reached), (Verdict::InStep, 1));
        let edited = judge(&reached, 1, standing(2, 1), None, now);
        assert_eq!(edited.verdict, Verdict::InStep, "a route was edited");
        let late = judge(&edited, 1, standing(2, 1), None, now + GRACE);
        assert_eq!(late.verdict, BEHIND);
        let newer = judge(&reached, 2, standing(2, 1), None, now);
        assert_eq!(newer.verdict, BEHIND, "the Gateway was edited");
        assert_eq!(judge(&newer, 2, standing(2, 2), None, now).verdict, Verdict::InStep);
        assert_eq!(judge(&newer, 2, standing(0, 0), None, now).verdict, Verdict::InStep, "nobody is connected");
    }

    #[test]
    fn replicas_are_heard_together() {
        let told = |reached: i64, verdict: Verdict| Told { connected: 3, reached, verdict };
        let with = |verdict: Verdict, others: &[Told]| verdict.with(2, others.iter());
        assert_eq!(with(Verdict::InStep, &[told(2, Verdict::InStep)]), Verdict::InStep);
        assert_eq!(
            with(BEHIND, &[told(1, Verdict::InStep)]),
            Verdict::Behind { connected: 5, behind: 4 },
            "an older generation"
        );
        let words = || Verdict::Rejected("no".into());
        assert_eq!(with(BEHIND, &[told(2, Verdict::InStep), told(1, words())]), words());
    }
}
