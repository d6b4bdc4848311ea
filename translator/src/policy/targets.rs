//! What a policy is about: objects that it names, and objects whose labels it selects.

use kinds::envoy_gateway::shared::{PolicyTargets, TargetSelector};
use kinds::envoy_gateway::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, SecurityPolicySpec};
use kinds::gateway::{LabelSelector, NamespaceFrom};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;

use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Target, Verdict};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Targets(pub Vec<PolicyTarget>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyTarget {
    pub object: ObjectId,
    /// A listener of a Gateway, or a rule of a route.
    pub section: Option<SmolStr>,
    pub path: FieldPath,
}

/// The kinds that a kind of policy can be about.
pub(crate) fn fits(policy: Kind, target: Kind) -> bool {
    match policy {
        Kind::SecurityPolicy => {
            matches!(
                target,
                Kind::Gateway
                    | Kind::ListenerSet
                    | Kind::HttpRoute
                    | Kind::AiGatewayRoute
                    | Kind::GrpcRoute
                    | Kind::TcpRoute
            )
        }
        Kind::BackendTrafficPolicy => matches!(
            target,
            Kind::Gateway
                | Kind::ListenerSet
                | Kind::HttpRoute
                | Kind::AiGatewayRoute
                | Kind::GrpcRoute
                | Kind::TcpRoute
                | Kind::UdpRoute
                | Kind::TlsRoute
        ),
        Kind::ClientTrafficPolicy => matches!(target, Kind::Gateway | Kind::ListenerSet),
        _ => false,
    }
}

pub(crate) fn written(policy: &Object) -> Option<&PolicyTargets> {
    match policy.id.kind {
        Kind::SecurityPolicy => policy.spec::<SecurityPolicySpec>().map(|spec| &spec.targets),
        Kind::BackendTrafficPolicy => policy.spec::<BackendTrafficPolicySpec>().map(|spec| &spec.targets),
        Kind::ClientTrafficPolicy => policy.spec::<ClientTrafficPolicySpec>().map(|spec| &spec.targets),
        _ => None,
    }
}

pub(crate) fn evaluate(policy: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(policy) else { return Outcome::default() };
    let Some(written) = written(object) else { return Outcome::default() };
    let mut found = Vec::new();
    let one = written.target_ref.iter().map(|r| (FieldPath::from("spec.targetRef"), r));
    let base = FieldPath::from("spec.targetRefs");
    let many = written.target_refs.iter().enumerate().map(|(index, r)| (base.index(index), r));
    for (path, reference) in one.chain(many) {
        let Some(edge) = view.reference(policy, path.as_str()) else { continue };
        if let (Target::Object(id), Verdict::Allowed) = (&edge.target, edge.verdict)
            && fits(policy.kind, id.kind)
        {
            found.push(PolicyTarget { object: id.clone(), section: reference.section_name.clone(), path });
        } else if let (Target::Object(id), Verdict::NotFound) = (&edge.target, edge.verdict)
            && fits(policy.kind, id.kind)
            && let Some(by_model) = by_model(id, view)
        {
            found.push(PolicyTarget { object: by_model, section: reference.section_name.clone(), path });
        }
    }
    for (index, selector) in written.target_selectors.iter().enumerate() {
        let path = FieldPath::from("spec.targetSelectors").index(index);
        for id in selected(policy, selector, view) {
            // What is named as a whole is not selected a second time.
            if !found.iter().any(|target| target.object == *id && target.section.is_none()) {
                found.push(PolicyTarget { object: id.clone(), section: None, path: path.clone() });
            }
        }
    }
    let demands = found.iter().map(|target| UnitId::Policies(target.object.clone())).collect();
    Outcome { product: Product::Targets(Targets(found).into()), demands, diagnostics: Vec::new() }
}

/// The route by model that a policy means: Envoy AI Gateway makes an HTTPRoute of each, and policies name that.
pub(crate) fn by_model(id: &ObjectId, view: &View<'_>) -> Option<ObjectId> {
    let route = id.of_kind(Kind::AiGatewayRoute);
    (id.kind == Kind::HttpRoute && view.object(&route).is_some()).then_some(route)
}

fn selected<'a>(policy: &ObjectId, selector: &TargetSelector, view: &View<'a>) -> Vec<&'a ObjectId> {
    let group = selector.group.as_deref().unwrap_or(kinds::gateway::GROUP);
    let Some(kind) = Kind::lookup(group, &selector.kind).filter(|kind| fits(policy.kind, *kind)) else {
        return Vec::new();
    };
    let namespaces = selector.namespaces.as_ref();
    let from = namespaces.map_or(NamespaceFrom::Same, |namespaces| namespaces.from);
    let members = match from {
        NamespaceFrom::Same => view.members(kind, Some(&policy.namespace)),
        NamespaceFrom::All | NamespaceFrom::Selector => view.members(kind, None),
        NamespaceFrom::None => Vec::new(),
    };
    let labels = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
    let chosen = members.into_iter().filter(|id| {
        let in_namespace = from != NamespaceFrom::Selector || labels.is_some_and(|l| namespace_matches(l, id, view));
        in_namespace
            && view.object(id).is_some_and(|object| selector.matches(&object.meta.labels))
            && view.permits(policy, id)
    });
    chosen.collect()
}

fn namespace_matches(selector: &LabelSelector, id: &ObjectId, view: &View<'_>) -> bool {
    let namespace = ObjectId::new(Kind::Namespace, "", id.namespace.clone());
    view.object(&namespace).is_some_and(|object| selector.matches(&object.meta.labels))
}
