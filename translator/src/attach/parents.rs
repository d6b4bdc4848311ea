//! Where a route attaches: for each of its parents a verdict, and the listeners that serve it.

use kinds::ai::AiGatewayRouteSpec;
use kinds::gateway::{
    GatewaySpec, GrpcRouteSpec, HttpRouteSpec, ListenerSetSpec, ParentReference, TcpRouteSpec, TlsRouteSpec,
    UdpRouteSpec,
};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::hostname;
use super::plan::{Plan, PlannedListener};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::Target;
use crate::names::ListenerId;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parents(pub Vec<Parent>);

/// One parent of a route that is ours to judge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    /// The position in `spec.parentRefs`.
    pub index: usize,
    pub gateway: ObjectId,
    pub controller: SmolStr,
    pub refusal: Option<Refusal>,
    pub attached: Vec<Attachment>,
    /// Listeners that take the route and cannot be served yet, for want of a certificate for one.
    pub waiting: Vec<ListenerId>,
}

/// Why a parent does not take the route: a reason of the `Accepted` condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub reason: &'static str,
    pub message: String,
    pub path: FieldPath,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attachment {
    pub listener: ListenerId,
    /// What the listener and the route both allow, sorted; `*` stands for every host.
    pub hostnames: Vec<SmolStr>,
}

impl Parents {
    /// The hostnames under which a listener serves the route, through whichever parent.
    pub(crate) fn hostnames(&self, listener: &ListenerId) -> Vec<SmolStr> {
        let attached = self.0.iter().flat_map(|parent| &parent.attached);
        let hosts = attached.filter(|at| at.listener == *listener).flat_map(|at| at.hostnames.iter().cloned());
        sorted(hosts.collect())
    }
}

/// The references to parents of a route of whichever kind.
pub(crate) fn parent_refs(route: &Object) -> &[ParentReference] {
    match route.id.kind {
        Kind::HttpRoute => route.spec::<HttpRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        Kind::AiGatewayRoute => route.spec::<AiGatewayRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        Kind::GrpcRoute => route.spec::<GrpcRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        Kind::TlsRoute => route.spec::<TlsRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        Kind::TcpRoute => route.spec::<TcpRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        Kind::UdpRoute => route.spec::<UdpRouteSpec>().map(|spec| spec.parent_refs.as_slice()),
        _ => None,
    }
    .unwrap_or_default()
}

/// None for kinds of route that know no hostnames.
fn hostnames(route: &Object) -> Option<Vec<SmolStr>> {
    let names = match route.id.kind {
        Kind::HttpRoute => &route.spec::<HttpRouteSpec>()?.hostnames,
        Kind::GrpcRoute => &route.spec::<GrpcRouteSpec>()?.hostnames,
        Kind::AiGatewayRoute => &route.spec::<AiGatewayRouteSpec>()?.hostnames,
        Kind::TlsRoute => &route.spec::<TlsRouteSpec>()?.hostnames,
        _ => return None,
    };
    Some(names.iter().map(|name| name.as_str().into()).collect())
}

pub(crate) fn evaluate(route: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(route) else { return Outcome::default() };
    let mut parents = Vec::new();
    let mut demands = Vec::new();
    for (index, reference) in parent_refs(object).iter().enumerate() {
        let path = FieldPath::from("spec.parentRefs").index(index);
        let Some(parent) = judge(object, index, reference, &path, view) else { continue };
        for attachment in &parent.attached {
            demands.push(UnitId::AttachedRoutes(attachment.listener.clone()));
            demands.push(UnitId::Effective(route.clone(), attachment.listener.clone()));
            demands.push(UnitId::Attached(route.clone(), attachment.listener.clone()));
        }
        demands.extend(parent.waiting.iter().cloned().map(UnitId::AttachedRoutes));
        parents.push(parent);
    }
    Outcome { product: Product::Parents(Parents(parents).into()), demands, diagnostics: Vec::new() }
}

/// None for a parent that is another controller's to judge, or nobody's.
fn judge(
    route: &Object,
    index: usize,
    reference: &ParentReference,
    path: &FieldPath,
    view: &View<'_>,
) -> Option<Parent> {
    let edge = view.reference(&route.id, path.as_str())?;
    let Target::Object(owner) = &edge.target else { return None };
    let gateway = match owner.kind {
        Kind::Gateway => owner.clone(),
        Kind::ListenerSet => gateway_of(owner, view)?,
        _ => return None,
    };
    view.spec::<GatewaySpec>(&gateway)?;
    let plan = view.made::<Plan>(UnitId::Plan(gateway.clone())).filter(|plan| plan.ours)?;
    let verdict = match route.unread() {
        Some(refusal) => {
            Err(Refusal { reason: "UnsupportedValue", message: refusal.message.clone(), path: FieldPath::spec() })
        }
        None => attach(route, owner, reference, path, plan, view),
    };
    let (refusal, (attached, waiting)) = match verdict {
        Ok(taken) => (None, taken),
        Err(refusal) => (Some(refusal), Default::default()),
    };
    Some(Parent { index, gateway, controller: plan.controller.clone(), refusal, attached, waiting })
}

pub(crate) fn gateway_of(set: &ObjectId, view: &View<'_>) -> Option<ObjectId> {
    view.spec::<ListenerSetSpec>(set)?;
    match &view.reference(set, "spec.parentRef")?.target {
        Target::Object(id) if id.kind == Kind::Gateway => Some(id.clone()),
        _ => None,
    }
}

/// The steps narrow the listeners; the first that leaves none gives the reason.
fn attach(
    route: &Object,
    owner: &ObjectId,
    reference: &ParentReference,
    path: &FieldPath,
    plan: &Plan,
    view: &View<'_>,
) -> Result<(Vec<Attachment>, Vec<ListenerId>), Refusal> {
    let refuse = |reason, path: FieldPath, message: String| Refusal { reason, message, path };
    // A Gateway as parent means its own listeners; those of a ListenerSet are named through the set.
    let mut listeners: Vec<&PlannedListener> = plan.listeners.iter().filter(|l| l.id.owner == *owner).collect();

    if let Some(section) = &reference.section_name {
        listeners.retain(|listener| listener.id.section == *section);
        if listeners.is_empty() {
            let message = format!("{owner} has no listener named {section}");
            return Err(refuse("NoMatchingParent", path.field("sectionName"), message));
        }
    }
    if let Some(port) = reference.port {
        listeners.retain(|listener| listener.port.number == port);
        if listeners.is_empty() {
            return Err(refuse(
                "NoMatchingParent",
                path.field("port"),
                format!("{owner} has no listener on port {port}"),
            ));
        }
    }
    // Who takes HTTPRoutes takes routes by model too: they are nothing else to a listener.
    let kind = if route.id.kind == Kind::AiGatewayRoute { Kind::HttpRoute } else { route.id.kind };
    listeners.retain(|listener| listener.kinds.contains(&kind));
    if listeners.is_empty() {
        let message = format!("no listener of {owner} takes routes of kind {}", route.id.kind);
        return Err(refuse("NotAllowedByListeners", path.clone(), message));
    }
    listeners.retain(|listener| {
        let namespaces = &listener.allowed.namespaces;
        let own = &listener.id.owner.namespace;
        super::namespaces::allowed(namespaces.from, namespaces.selector.as_ref(), own, &route.id.namespace, view)
    });
    if listeners.is_empty() {
        let message = format!("no listener of {owner} takes routes from namespace {}", route.id.namespace);
        return Err(refuse("NotAllowedByListeners", path.clone(), message));
    }
    listeners.retain(|listener| listener.usable() || listener.waits());
    if listeners.is_empty() {
        return Err(refuse("NoMatchingParent", path.clone(), format!("no listener of {owner} that matches is valid")));
    }
    let wanted = hostnames(route);
    let (usable, waiting): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|listener| listener.usable());
    let serves = |listener: &PlannedListener| serve(listener, wanted.as_deref(), plan);
    let attached: Vec<Attachment> = usable.into_iter().filter_map(serves).collect();
    let waiting: Vec<ListenerId> = waiting.into_iter().filter_map(serves).map(|at| at.listener).collect();
    if attached.is_empty() && waiting.is_empty() {
        let message = format!("no hostname of the route is one of a listener of {owner}");
        return Err(refuse("NoMatchingListenerHostname", "spec.hostnames".into(), message));
    }
    Ok((attached, waiting))
}

fn serve(listener: &PlannedListener, wanted: Option<&[SmolStr]>, plan: &Plan) -> Option<Attachment> {
    let any_host = SmolStr::new_static("*");
    let own = listener.hostname.as_deref();
    let allowed: Vec<SmolStr> = match wanted {
        None => vec![any_host.clone()],
        Some([]) => vec![listener.hostname.clone().unwrap_or_else(|| any_host.clone())],
        Some(names) => {
            let both = names.iter().filter_map(|name| hostname::intersect(own, Some(name)));
            sorted(both.map(|host| host.unwrap_or_else(|| any_host.clone())).collect())
        }
    };
    if allowed.is_empty() {
        return None;
    }
    // A host that a more specific listener of the port names is that listener's, with or without routes.
    let hostnames =
        allowed.into_iter().filter(|host| *host == any_host || !plan.owned_by_other(listener, host)).collect();
    Some(Attachment { listener: listener.id.clone(), hostnames })
}

/// In order and without repetitions.
fn sorted(mut hosts: Vec<SmolStr>) -> Vec<SmolStr> {
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}
