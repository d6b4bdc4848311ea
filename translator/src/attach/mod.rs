//! Who attaches to whom: Gateways' listeners, and the routes they take.

mod conflicts;
pub(crate) mod hostname;
mod listener;
mod listener_set;
mod namespaces;
mod parents;
mod plan;

use std::collections::BTreeSet;

use smol_str::SmolStr;

pub(crate) use listener::{ClientValidation, ListenerProblem, Protocol};
pub(crate) use parents::{Attachment, Parent, Parents, evaluate as evaluate_parents, gateway_of, parent_refs};
pub(crate) use plan::{Plan, PlannedListener, evaluate as evaluate_plan, evaluate_listener};

use crate::engine::{UnitId, View};
use crate::names::HcmId;

/// The hostnames that the listeners of a set of tables name themselves.
pub(crate) fn isolated_hosts(view: &View<'_>, hcm: &HcmId) -> BTreeSet<SmolStr> {
    let plan = view.made::<Plan>(UnitId::Plan(hcm.gateway.clone()));
    plan.map(|plan| plan.listener_hosts(hcm)).unwrap_or_default()
}

/// The hostnames of other listeners that a connection of this one may be misused for.
pub(crate) fn misdirected_hosts(view: &View<'_>, hcm: &HcmId) -> BTreeSet<SmolStr> {
    let plan = view.made::<Plan>(UnitId::Plan(hcm.gateway.clone()));
    plan.map(|plan| plan.misdirected_hosts(hcm)).unwrap_or_default()
}
