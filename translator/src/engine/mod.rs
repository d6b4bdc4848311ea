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
mod units;
mod view;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::{Diagnostic, Object, ObjectId};
use smallvec::SmallVec;

use facts::{Absent, UnitIndex};
pub(crate) use facts::{Fact, UnitSet};
pub(crate) use product::{Made, Outcome, Product};
pub(crate) use unit::{PortId, UnitId};
use units::Units;
use view::Reads;
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
    /// Units to run, by stage. Those that left meanwhile, or ran already, are passed over.
    pending: Vec<Vec<UnitIndex>>,
    /// Room for what a unit reads, empty between two runs.
    facts: Vec<Fact>,
}

impl Translator {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let pending = vec![Vec::new(); UnitId::STAGES];
        Self { options, world: World::default(), units: Units::default(), pending, facts: Vec::new() }
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
            let (id, exists) = self.world.known_as(id);
            for unit in unit::rooted_in(&id) {
                self.set_rooted(unit, exists);
            }
        }
        for fact in changed {
            self.mark_readers(fact);
        }
        let mut collector = Collector::default();
        for stage in 0..UnitId::STAGES {
            // A unit asks only for units of later stages, and changes what only those read.
            for index in std::mem::take(&mut self.pending[stage]) {
                let due = self.units.state_mut(index).filter(|state| state.pending && state.id.stage() == stage);
                if let Some(state) = due {
                    state.pending = false;
                    self.run(index, &mut collector);
                }
            }
        }
        collector.finish()
    }

    fn set_rooted(&mut self, id: UnitId, rooted: bool) {
        if !rooted && self.units.number(&id).is_none() {
            return;
        }
        let index = self.units.place(id);
        if let Some(state) = self.units.state_mut(index).filter(|state| state.rooted != rooted) {
            state.rooted = rooted;
            self.mark(index);
        }
    }

    fn mark(&mut self, index: UnitIndex) {
        let Some(state) = self.units.state_mut(index) else { return };
        if !state.pending {
            state.pending = true;
            self.pending[state.id.stage()].push(index);
        }
    }

    /// Units that found something about an object say where it stands now.
    fn mark_finders(&mut self, id: &ObjectId) {
        let Some(object) = self.world.graph.index(id) else { return };
        let readers = self.readers(Fact::Object(object)).map(UnitSet::as_slice).unwrap_or_default();
        let found = |index: &UnitIndex| self.units.state(*index).is_some_and(|state| !state.diagnostics.is_empty());
        for index in readers.iter().copied().filter(found).collect::<Vec<_>>() {
            self.mark(index);
        }
    }

    fn readers(&self, fact: Fact) -> Option<&UnitSet> {
        match fact {
            Fact::Product(unit) => Some(&self.units.state(unit)?.product_readers),
            Fact::Demanders(unit) => Some(&self.units.state(unit)?.demander_readers),
            Fact::Members(list) => self.world.lists.readers(list),
            Fact::Object(_) | Fact::Outgoing(_) | Fact::Incoming(..) => self.world.graph.readers(fact),
        }
    }

    fn readers_mut(&mut self, fact: Fact) -> Option<&mut UnitSet> {
        match fact {
            Fact::Product(unit) => Some(&mut self.units.state_mut(unit)?.product_readers),
            Fact::Demanders(unit) => Some(&mut self.units.state_mut(unit)?.demander_readers),
            Fact::Members(list) => self.world.lists.readers_mut(list),
            Fact::Object(_) | Fact::Outgoing(_) | Fact::Incoming(..) => self.world.graph.readers_mut(fact),
        }
    }

    fn mark_readers(&mut self, fact: Fact) {
        let count = self.readers(fact).map_or(0, |readers| readers.as_slice().len());
        for at in 0..count {
            if let Some(index) = self.readers(fact).and_then(|readers| readers.as_slice().get(at)).copied() {
                self.mark(index);
            }
        }
    }

    fn run(&mut self, index: UnitIndex, collector: &mut Collector) {
        let Some(state) = self.units.state(index) else { return };
        let (outcome, reads) = if state.alive() {
            let room = std::mem::take(&mut self.facts);
            let view = View::new(&self.options, &self.world, &self.units, (index, &state.id), room);
            let outcome = crate::evaluate(&state.id, &view);
            (outcome, view.into_reads())
        } else {
            (Outcome::default(), Reads::default())
        };
        let Outcome { product, demands, diagnostics } = outcome;
        self.set_demands(index, demands);
        self.set_reads(index, reads);
        let Some(state) = self.units.state_mut(index) else { return };
        if state.diagnostics != diagnostics {
            state.diagnostics = diagnostics;
            collector.diagnostics_changed();
        }
        if state.product != product {
            collector.changed(&state.id, &state.product, &product);
            state.product = product;
            self.mark_readers(Fact::Product(index));
        }
        self.units.forget_if_unneeded(index);
    }

    /// Replaces what a unit read last time by what it read now.
    fn set_reads(&mut self, unit: UnitIndex, reads: Reads) {
        let Reads { facts: mut now, absent } = reads;
        for absent in absent {
            now.push(match absent {
                Absent::Unit(unit) => Fact::Product(self.units.place(unit)),
                Absent::Object(object) => self.world.number(object),
            });
        }
        now.sort_unstable();
        now.dedup();
        if let Some(state) = self.units.state_mut(unit)
            && *state.reads != *now
        {
            let before = std::mem::replace(&mut state.reads, now.as_slice().into());
            for fact in now.iter().filter(|fact| before.binary_search(fact).is_err()) {
                if let Some(readers) = self.readers_mut(*fact) {
                    readers.insert(unit);
                }
            }
            for fact in before.iter().filter(|fact| now.binary_search(fact).is_err()) {
                self.unread(unit, *fact);
            }
        }
        now.clear();
        self.facts = now;
    }

    fn unread(&mut self, unit: UnitIndex, fact: Fact) {
        let Some(readers) = self.readers_mut(fact) else { return };
        readers.remove(unit);
        if !readers.is_empty() {
            return;
        }
        match fact {
            Fact::Object(object) | Fact::Outgoing(object) | Fact::Incoming(object, _) => {
                self.world.graph.forget_if_unneeded(object);
            }
            Fact::Product(other) | Fact::Demanders(other) if other != unit => self.units.forget_if_unneeded(other),
            Fact::Product(_) | Fact::Demanders(_) | Fact::Members(_) => {}
        }
    }

    /// Asks for the units it now needs, and no longer for the others.
    fn set_demands(&mut self, index: UnitIndex, demands: Vec<UnitId>) {
        let mut now: SmallVec<[UnitIndex; 8]> = SmallVec::new();
        for unit in demands {
            debug_assert!(self.units.state(index).is_some_and(|state| unit.stage() > state.id.stage()), "{unit:?}");
            now.push(self.units.place(unit));
        }
        now.sort_unstable();
        now.dedup();
        let Some(state) = self.units.state_mut(index) else { return };
        if *state.demands == *now {
            return;
        }
        let before = std::mem::replace(&mut state.demands, now.as_slice().into());
        for other in before.iter().filter(|other| now.binary_search(other).is_err()) {
            self.demanders_changed(*other, |demanders| demanders.remove(index));
        }
        for other in now {
            self.demanders_changed(other, |demanders| demanders.insert(index));
        }
    }

    fn demanders_changed(&mut self, index: UnitIndex, edit: impl FnOnce(&mut UnitSet) -> bool) {
        let Some(state) = self.units.state_mut(index) else { return };
        let alive = state.alive();
        if !edit(&mut state.demanders) {
            return;
        }
        if state.alive() != alive {
            self.mark(index);
        }
        self.mark_readers(Fact::Demanders(index));
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
            Some((_, Product::Resource(config))) => vec![config.clone()],
            _ => Vec::new(),
        }
    }

    /// The rules that the rate limit service counts for.
    #[must_use]
    pub fn limit_rules(&self) -> Vec<LimitRule> {
        let domain = self.units.number(&UnitId::LimitDomain);
        let policies = domain.map(|domain| self.units.demanders(domain)).unwrap_or_default();
        crate::policy::limits::told(policies.into_iter().filter_map(|policy| self.units.product_at(policy.index)))
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
