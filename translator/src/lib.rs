//! Resources in, Envoy configuration out: pure, deterministic, incremental.
//!
//! ```text
//! objects -> graph (references with verdicts) -> units (what is made anew as a whole) -> resources, statuses, findings
//! ```
//!
//! Invariants: no I/O, no clock, no randomness; it never fails, but returns findings beside its output; the same objects
//! give the same bytes in whatever order and in however many steps they arrive.

mod addresses;
mod ai;
mod attach;
mod deployment;
mod diagnostics;
mod engine;
mod graph;
mod l4;
mod names;
mod options;
mod patch;
mod policy;
mod render;
mod routing;
mod status;

pub use addresses::AddressRange;
pub use deployment::{DeployedPort, Deployment, Parameters};
pub use engine::{Change, GroupChange, Translator, Update};
pub use graph::{Edge, Graph, Node, Role, Target, Verdict};
pub use names::UNRESOLVED_CLUSTER;
pub use options::{Address, CONTROLLER_NAME, LimitService, Options, PickerBodies, SYSTEM_ROOTS};
pub use policy::coverage;
pub use policy::limits::{LimitRule, MOST_BYTES as MOST_LIMIT_BYTES, no_limits};
pub use status::{Condition, ListenerStatus, ParentStatus, Status};

use engine::{Outcome, UnitId, View};

/// Runs a unit: the table of who makes what.
pub(crate) fn evaluate(unit: &UnitId, view: &View<'_>) -> Outcome {
    let mut outcome = make(unit, view);
    patch::apply(unit, &mut outcome, view);
    outcome
}

fn make(unit: &UnitId, view: &View<'_>) -> Outcome {
    match unit {
        UnitId::Patches(gateway) => patch::evaluate_policies(gateway, view),
        UnitId::Added(_, policy, index) => patch::evaluate(policy, *index, view),
        UnitId::Plan(gateway) => attach::evaluate_plan(gateway, view),
        UnitId::Listener(listener) => attach::evaluate_listener(listener, view),
        UnitId::Deployment(gateway) => deployment::evaluate(gateway, view),
        UnitId::Parents(route) => attach::evaluate_parents(route, view),
        UnitId::AttachedRoutes(_) => engine::Product::Count(view.demander_count()).into(),
        UnitId::Attached(route, listener) => routing::evaluate(route, listener, view),
        UnitId::AiHost(hcm, host) => ai::evaluate_host(hcm, host, view),
        UnitId::AiList(hcm, _) => ai::evaluate_list(hcm, view),
        UnitId::ModelTable(hcm, host, model) => ai::evaluate_table(hcm, host, model, view),
        UnitId::ModelScope(hcm, host, model) => ai::evaluate_scope(hcm, host, model, view),
        UnitId::Table(hcm, shard) => render::table::evaluate(hcm, *shard, view),
        UnitId::Scope(hcm, host) => render::scope::evaluate(hcm, host),
        UnitId::Port(gateway, port) => render::listener::evaluate(gateway, *port, view),
        UnitId::Cluster(gateway, cluster) => render::cluster::evaluate(gateway, cluster, view),
        UnitId::Endpoints(_, cluster) => render::endpoints::evaluate(cluster, view),
        UnitId::Secret(_, secret) => render::secret::evaluate(secret, view),
        UnitId::Targets(policy) => policy::targets::evaluate(policy, view),
        UnitId::Policies(target) => policy::policies::evaluate(target, view),
        UnitId::Effective(route, listener) => policy::effective::evaluate(route, listener, view),
        UnitId::Security(_, chain) => policy::security::evaluate(unit, chain, view),
        UnitId::Traffic(chain) => policy::traffic::evaluate(chain, view),
        UnitId::Overridden(policy) => policy::overridden::evaluate(policy, view),
        UnitId::Guard(gateway, guard) => policy::guard::evaluate(gateway, *guard, view),
        UnitId::Guards(_, sort) => render::filters::guards::evaluate(*sort, view),
        UnitId::FilterUse(gateway, name) => render::filters::presence::evaluate_use(gateway, name),
        UnitId::Filter(_, name) => render::filters::presence::evaluate(name, view),
        UnitId::External(_, authority) => render::external::evaluate(authority, view),
        UnitId::LimitService(_) => render::filters::limits::evaluate(view),
        UnitId::LimitDomain => policy::limits::evaluate_domain(view),
        UnitId::Status(object) => status::evaluate(object, view),
    }
}
