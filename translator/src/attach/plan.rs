//! A Gateway's plan: whether it is ours, and each of its listeners with what speaks for and against it.

use std::collections::{BTreeMap, BTreeSet};

use kinds::gateway::{AllowedRoutes, GatewayClassSpec, GatewaySpec, Listener, ListenerSetSpec, ListenerTls};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::hostname;
use super::listener::{self, ClientValidation, ListenerProblem, Protocol};
use crate::engine::{Outcome, PortId, Product, UnitId, View};
use crate::graph::Role;
use crate::names::{GuardSort, HcmId, ListenerId, SecretId, Shard};
use crate::render::filters::presence;
use crate::render::filters::table_fallback::DEFAULT_HOST;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// A GatewayClass of ours, or one that is not among the objects.
    pub ours: bool,
    /// The controller that signs statuses.
    pub controller: SmolStr,
    pub class_missing: bool,
    /// In the order in which they are written: the Gateway's own, then its ListenerSets' by age.
    pub listeners: Vec<PlannedListener>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedListener {
    pub id: ListenerId,
    /// What holds its route tables, if it has any.
    pub hcm: HcmId,
    /// Where it is written.
    pub path: FieldPath,
    pub port: PortId,
    pub hostname: Option<SmolStr>,
    pub protocol: Protocol,
    pub allowed: AllowedRoutes,
    /// The kinds of route it takes: what its protocol can do and its author allows.
    pub kinds: Vec<Kind>,
    pub certificates: Vec<SecretId>,
    /// None where clients need no certificate.
    pub client_validation: Option<ClientValidation>,
    pub tls: Option<ListenerTls>,
    pub problems: Vec<ListenerProblem>,
}

impl PlannedListener {
    /// Whether the listener is part of the configuration at all.
    pub(crate) fn usable(&self) -> bool {
        !self.problems.iter().any(|problem| problem.fatal)
    }

    /// Whether all that it lacks is what it refers to.
    pub(crate) fn waits(&self) -> bool {
        self.problems.iter().all(|problem| problem.condition == "ResolvedRefs")
    }
}

impl Plan {
    pub(crate) fn listener(&self, id: &ListenerId) -> Option<&PlannedListener> {
        self.listeners.iter().find(|listener| listener.id == *id)
    }

    /// The listeners that share one set of route tables.
    pub(crate) fn of_hcm<'a>(&'a self, hcm: &'a HcmId) -> impl Iterator<Item = &'a PlannedListener> {
        self.usable_http().filter(|listener| listener.hcm == *hcm)
    }

    fn usable_http(&self) -> impl Iterator<Item = &PlannedListener> {
        self.listeners.iter().filter(|l| l.usable() && matches!(l.protocol, Protocol::Http | Protocol::Https))
    }

    /// The hostnames that listeners name themselves: each has a table, with or without routes.
    pub(crate) fn listener_hosts(&self, hcm: &HcmId) -> BTreeSet<SmolStr> {
        self.of_hcm(hcm).filter_map(|listener| listener.hostname.clone()).collect()
    }

    /// Hostnames of the other HTTPS listeners of the port: a request for one of them that comes over a connection of this
    /// listener has been misdirected. One without hostname has `*`: whatever is nobody else's.
    pub(crate) fn misdirected_hosts(&self, hcm: &HcmId) -> BTreeSet<SmolStr> {
        let Some(id) = &hcm.listener else { return BTreeSet::new() };
        let of = |listener: &PlannedListener| listener.hostname.clone().unwrap_or(SmolStr::new_static("*"));
        let own = self.listener(id).map(of);
        let others = self
            .usable_http()
            .filter(|other| other.protocol == Protocol::Https && other.port.number == hcm.port && other.id != *id);
        others.map(of).filter(|hostname| Some(hostname) != own.as_ref()).collect()
    }

    /// Whether requests for a host are another, more specific listener's on the same port.
    pub(crate) fn owned_by_other(&self, listener: &PlannedListener, host: &str) -> bool {
        let mine = hostname::specificity(listener.hostname.as_deref());
        self.usable_http().any(|other| {
            other.id != listener.id
                && other.port == listener.port
                && hostname::specificity(other.hostname.as_deref()) < mine
                && other.hostname.as_deref().is_some_and(|name| name == host || hostname::covers(name, host))
        })
    }
}

pub(crate) fn evaluate(gateway: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(gateway) else { return Outcome::default() };
    let Some(spec) = object.spec::<GatewaySpec>() else { return Outcome::default() };
    let (controller, class_missing) = match claim(spec, view) {
        Claim::Ours(controller) => (controller, false),
        Claim::Unclaimed => (view.options.controllers.first().map(SmolStr::new).unwrap_or_default(), true),
        Claim::Others => {
            let plan =
                Plan { ours: false, controller: SmolStr::default(), class_missing: false, listeners: Vec::new() };
            return Product::Plan(plan.into()).into();
        }
    };
    let mut listeners = Vec::new();
    for (owner, written, path) in written_listeners(object, spec, view) {
        listeners.push(listener::plan(object, &owner, written, path, view));
    }
    super::conflicts::mark(&mut listeners);
    let plan = Plan { ours: true, controller, class_missing, listeners };
    let mut demands = crate::patch::added(gateway, view);
    demands.extend(plan.listeners.iter().map(|listener| UnitId::Listener(listener.id.clone())));
    for listener in plan.listeners.iter().filter(|listener| listener.usable()) {
        demands.push(UnitId::Port(gateway.clone(), listener.port));
    }
    let hcms: BTreeSet<HcmId> = plan.usable_http().map(|listener| listener.hcm.clone()).collect();
    if !hcms.is_empty() {
        // They are there before any route needs them, so that a first policy changes no listener.
        demands.extend(GuardSort::ALL.map(|sort| UnitId::Guards(gateway.clone(), sort)));
        demands.extend(presence::units(gateway));
    }
    for hcm in hcms {
        demands.push(UnitId::Table(hcm.clone(), Shard::Default));
        demands.push(UnitId::Scope(hcm.clone(), SmolStr::new_static(DEFAULT_HOST)));
        for host in plan.listener_hosts(&hcm).into_iter().filter(|host| Shard::of(host) != Shard::Default) {
            demands.push(UnitId::Table(hcm.clone(), Shard::of(&host)));
            demands.push(UnitId::Scope(hcm.clone(), host));
        }
    }
    Outcome { product: Product::Plan(plan.into()), demands, diagnostics: Vec::new() }
}

pub(crate) fn evaluate_listener(id: &ListenerId, view: &View<'_>) -> Outcome {
    let plan = view.made::<Plan>(UnitId::Plan(id.gateway.clone()));
    match plan.and_then(|plan| plan.listener(id)) {
        Some(listener) => Product::Listener(listener.clone().into()).into(),
        None => Outcome::default(),
    }
}

pub(crate) enum Claim {
    Ours(SmolStr),
    /// The class is not among the objects: without an API server that is the usual case.
    Unclaimed,
    Others,
}

pub(crate) fn claim(spec: &GatewaySpec, view: &View<'_>) -> Claim {
    let class = ObjectId::new(Kind::GatewayClass, "", spec.gateway_class_name.as_str());
    match view.spec::<GatewayClassSpec>(&class) {
        None if view.options.take_unclassed => Claim::Unclaimed,
        None => Claim::Others,
        Some(class) if view.options.controllers.iter().any(|name| *name == class.controller_name) => {
            Claim::Ours(class.controller_name.clone())
        }
        Some(_) => Claim::Others,
    }
}

fn written_listeners<'a>(
    gateway: &'a Object,
    spec: &'a GatewaySpec,
    view: &View<'a>,
) -> Vec<(ObjectId, &'a Listener, FieldPath)> {
    let path = |index| FieldPath::from("spec.listeners").index(index);
    let own = spec.listeners.iter().enumerate().map(|(index, l)| (gateway.id.clone(), l, path(index)));
    let mut all: Vec<_> = own.collect();
    let sets = view.referrers_of(&gateway.id, Role::Parent, Kind::ListenerSet);
    let sets = sets.filter(|id| super::listener_set::allowed(gateway, spec, id, view));
    let mut sets: Vec<&Object> = sets.filter_map(|id| view.object(id)).map(AsRef::as_ref).collect();
    sets.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
    for set in sets {
        let Some(spec) = set.spec::<ListenerSetSpec>() else { continue };
        all.extend(spec.listeners.iter().enumerate().map(|(index, l)| (set.id.clone(), l, path(index))));
    }
    all
}

/// Listeners by the port they share.
pub(crate) fn by_port(listeners: &[PlannedListener]) -> BTreeMap<PortId, Vec<usize>> {
    let mut ports: BTreeMap<PortId, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        ports.entry(listener.port).or_default().push(index);
    }
    ports
}
