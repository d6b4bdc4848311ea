//! The incremental engine: which units there are, what each read, and what must run again.
//!
//! ```text
//! changed objects -> changed facts -> units that read them, stage by stage -> changed products -> units that read those
//! ```
//!
//! It knows nothing of Gateway API or Envoy: what a unit does is in [`crate::evaluate`].

mod derived;
mod facts;
mod output;
mod product;
mod unit;
mod view;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinds::{Diagnostic, Object, ObjectId};
use rustc_hash::FxHashMap;

pub(crate) use facts::Fact;
use facts::{FactIndex, Readers, UnitIndex};
pub(crate) use product::{Made, Outcome, Product};
pub(crate) use unit::{PortId, UnitId};
pub(crate) use view::View;
pub(crate) use world::World;

use output::Collector;
pub use output::{GroupChange, Update};

use crate::status::Status;
use crate::{Graph, LimitRule, Options};

/// A change of the inputs.
#[derive(Clone, Debug)]
pub enum Change {
    Put(Arc<Object>),
    Remove(ObjectId),
}

/// The translation of a set of objects, kept up to date as they change.
#[derive(Debug)]
pub struct Translator {
    options: Options,
    world: World,
    units: Units,
    readers: Readers,
    /// Units to run, by stage.
    pending: Vec<BTreeSet<UnitIndex>>,
}

#[derive(Debug, Default)]
pub(crate) struct Units {
    by_id: FxHashMap<UnitId, UnitIndex>,
    states: Vec<Option<UnitState>>,
    free: Vec<UnitIndex>,
}

#[derive(Debug)]
struct UnitState {
    id: UnitId,
    rooted: bool,
    product: Product,
    reads: Vec<FactIndex>,
    demands: Vec<UnitIndex>,
    demanders: BTreeSet<UnitIndex>,
    diagnostics: Vec<Diagnostic>,
}

impl Units {
    fn state(&self, index: UnitIndex) -> Option<&UnitState> {
        self.states.get(index as usize).and_then(Option::as_ref)
    }

    fn state_mut(&mut self, index: UnitIndex) -> Option<&mut UnitState> {
        self.states.get_mut(index as usize).and_then(Option::as_mut)
    }

    fn find(&self, id: &UnitId) -> Option<&UnitState> {
        self.by_id.get(id).and_then(|index| self.state(*index))
    }

    fn product(&self, id: &UnitId) -> Option<&Product> {
        self.find(id).map(|state| &state.product)
    }

    fn demanders(&self, id: &UnitId) -> Vec<&UnitId> {
        let demanders = self.find(id).into_iter().flat_map(|state| &state.demanders);
        let mut ids: Vec<_> = demanders.filter_map(|index| self.state(*index)).map(|state| &state.id).collect();
        ids.sort_unstable();
        ids
    }

    fn demander_count(&self, id: &UnitId) -> usize {
        self.find(id).map_or(0, |state| state.demanders.len())
    }

    /// The unit's index; true when it is new.
    fn ensure(&mut self, id: UnitId) -> (UnitIndex, bool) {
        if let Some(index) = self.by_id.get(&id) {
            return (*index, false);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.states.push(None);
            UnitIndex::try_from(self.states.len() - 1).unwrap_or(UnitIndex::MAX)
        });
        self.by_id.insert(id.clone(), index);
        self.states[index as usize] = Some(UnitState {
            id,
            rooted: false,
            product: Product::Nothing,
            reads: Vec::new(),
            demands: Vec::new(),
            demanders: BTreeSet::new(),
            diagnostics: Vec::new(),
        });
        (index, true)
    }

    fn iter(&self) -> impl Iterator<Item = &UnitState> {
        self.states.iter().flatten()
    }
}

impl Translator {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let pending = vec![BTreeSet::new(); UnitId::STAGES];
        Self { options, world: World::default(), units: Units::default(), readers: Readers::default(), pending }
    }

    /// Takes changes in and says what they change on the wire and in statuses. Cost follows the changes.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Update {
        let mut changed = Vec::new();
        for change in changes {
            let id = match change {
                Change::Put(object) => {
                    let id = object.id.clone();
                    if self.world.put(object, &mut changed) {
                        self.mark_finders(&id);
                    }
                    id
                }
                Change::Remove(id) => {
                    self.world.remove(&id, &mut changed);
                    id
                }
            };
            let exists = self.world.get(&id).is_some();
            for unit in unit::rooted_in(&id) {
                self.set_rooted(unit, exists);
            }
        }
        for fact in &changed {
            self.mark_readers(fact);
        }
        let mut collector = Collector::default();
        for stage in 0..UnitId::STAGES {
            while let Some(index) = self.pending[stage].pop_first() {
                self.run(index, &mut collector);
            }
        }
        collector.finish()
    }

    fn set_rooted(&mut self, id: UnitId, rooted: bool) {
        if !rooted && !self.units.by_id.contains_key(&id) {
            return;
        }
        let (index, new) = self.units.ensure(id);
        if let Some(state) = self.units.state_mut(index) {
            let changed = state.rooted != rooted;
            state.rooted = rooted;
            if changed || new {
                let stage = state.id.stage();
                self.pending[stage].insert(index);
            }
        }
    }

    /// Units that found something about an object say where it stands now.
    fn mark_finders(&mut self, id: &ObjectId) {
        for index in self.readers.of(&Fact::Object(id.clone())) {
            if let Some(state) = self.units.state(index).filter(|state| !state.diagnostics.is_empty()) {
                self.pending[state.id.stage()].insert(index);
            }
        }
    }

    fn mark_readers(&mut self, fact: &Fact) {
        for index in self.readers.of(fact) {
            if let Some(state) = self.units.state(index) {
                self.pending[state.id.stage()].insert(index);
            }
        }
    }

    fn run(&mut self, index: UnitIndex, collector: &mut Collector) {
        let Some(state) = self.units.state(index) else { return };
        let id = state.id.clone();
        let alive = state.rooted || !state.demanders.is_empty();
        let (outcome, reads) = if alive {
            let view = View::new(&self.options, &self.world, &self.units, &id);
            let outcome = crate::evaluate(&id, &view);
            (outcome, view.into_reads())
        } else {
            (Outcome::default(), Vec::new())
        };
        let Outcome { product, demands, diagnostics } = outcome;
        self.set_demands(index, &id, demands);
        let Some(state) = self.units.state_mut(index) else { return };
        self.readers.update(index, &mut state.reads, reads);
        if state.diagnostics != diagnostics {
            state.diagnostics = diagnostics;
            collector.diagnostics_changed();
        }
        if state.product != product {
            collector.changed(&id, &state.product, &product);
            state.product = product;
            self.mark_readers(&Fact::Product(id.clone()));
        }
        if !alive {
            self.units.by_id.remove(&id);
            self.units.states[index as usize] = None;
            self.units.free.push(index);
        }
    }

    /// Asks for the units it now needs, and no longer for the others.
    fn set_demands(&mut self, index: UnitIndex, id: &UnitId, demands: Vec<UnitId>) {
        let stage = id.stage();
        let mut now: Vec<UnitIndex> = Vec::with_capacity(demands.len());
        for unit in demands {
            debug_assert!(unit.stage() > stage, "{id:?} asks for {unit:?}");
            let (other, new) = self.units.ensure(unit);
            if new && let Some(state) = self.units.state(other) {
                self.pending[state.id.stage()].insert(other);
            }
            now.push(other);
        }
        now.sort_unstable();
        now.dedup();
        let Some(state) = self.units.state_mut(index) else { return };
        let before = std::mem::replace(&mut state.demands, now.clone());
        if before == now {
            return;
        }
        for other in before.iter().filter(|other| now.binary_search(other).is_err()) {
            self.demanders_changed(*other, |demanders| demanders.remove(&index));
        }
        for other in now.iter().filter(|other| before.binary_search(other).is_err()) {
            self.demanders_changed(*other, |demanders| demanders.insert(index));
        }
    }

    fn demanders_changed(&mut self, index: UnitIndex, edit: impl FnOnce(&mut BTreeSet<UnitIndex>) -> bool) {
        let Some(state) = self.units.state_mut(index) else { return };
        edit(&mut state.demanders);
        let id = state.id.clone();
        if state.demanders.is_empty() && !state.rooted {
            self.pending[id.stage()].insert(index);
        }
        self.mark_readers(&Fact::Demanders(id));
    }

    /// Every finding, sorted by place.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all: Vec<_> = self.units.iter().flat_map(|state| state.diagnostics.iter().cloned()).collect();
        crate::diagnostics::sort(&mut all);
        all
    }

    /// Every resource, by the Gateway whose Envoys get it.
    #[must_use]
    pub fn resources(&self) -> BTreeMap<ObjectId, Vec<xds_api::Resource>> {
        let mut groups: BTreeMap<ObjectId, Vec<xds_api::Resource>> = BTreeMap::new();
        for state in self.units.iter() {
            if let (Product::Resource(resource), Some(gateway)) = (&state.product, state.id.gateway()) {
                groups.entry(gateway.clone()).or_default().push(resource.clone());
            }
        }
        for resources in groups.values_mut() {
            resources.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        }
        groups
    }

    /// What the rate limit service is to be told: one resource for each domain.
    #[must_use]
    pub fn limits(&self) -> Vec<xds_api::Resource> {
        match self.units.product(&UnitId::LimitDomain) {
            Some(Product::Resource(config)) => vec![config.clone()],
            _ => Vec::new(),
        }
    }

    /// The rules that the rate limit service counts for.
    #[must_use]
    pub fn limit_rules(&self) -> Vec<LimitRule> {
        let policies = self.units.demanders(&UnitId::LimitDomain);
        crate::policy::limits::told(policies.into_iter().filter_map(|unit| self.units.product(unit)))
    }

    #[must_use]
    pub fn statuses(&self) -> BTreeMap<ObjectId, Arc<Status>> {
        let statuses = self.units.iter().filter_map(|state| match (&state.id, &state.product) {
            (UnitId::Status(id), Product::Status(status)) => Some((id.clone(), status.clone())),
            _ => None,
        });
        statuses.collect()
    }

    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.world.graph
    }

    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.world.all()
    }
}
