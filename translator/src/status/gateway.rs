//! The statuses of Gateways, their classes, and ListenerSets.

use std::collections::BTreeSet;

use kinds::gateway::{GatewayAddress, GatewayClassSpec, GatewaySpec, ListenerSetSpec};
use kinds::{Diagnostic, FieldPath, Object, ObjectId};

use super::{Condition, ListenerStatus, Status, features};
use crate::addresses::{Verdict as Asked, judge};
use crate::attach::{Plan, PlannedListener, gateway_of};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Target, Verdict};

pub(super) fn of_class(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let Some(spec) = object.spec::<GatewayClassSpec>() else { return Outcome::default() };
    if !view.options.controllers.iter().any(|name| *name == spec.controller_name) {
        return Outcome::default();
    }
    let conditions = vec![Condition::yes("Accepted", "Accepted", "this controller serves the class")];
    let status = Status {
        generation: object.meta.generation,
        conditions,
        supported_features: features::supported(view.options),
        ..Status::default()
    };
    Product::Status(status.into()).into()
}

pub(super) fn of_gateway(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let Some(plan) = view.made::<Plan>(UnitId::Plan(id.clone())).filter(|plan| plan.ours) else {
        return Outcome::default();
    };
    let own: Vec<&PlannedListener> = plan.listeners.iter().filter(|listener| listener.id.owner == *id).collect();
    let valid = plan.listeners.iter().filter(|listener| listener.usable()).count();
    let mut conditions = Vec::new();
    let parameters = missing_parameters(id, view);
    let unsupported = addresses(object, Asked::Unsupported, view);
    let not_usable = addresses(object, Asked::NotUsable, view);
    if let Some(message) = &parameters {
        conditions.push(Condition::no("Accepted", "InvalidParameters", message.clone()));
    } else if let Some((_, message)) = unsupported.first() {
        conditions.push(Condition::no("Accepted", "UnsupportedAddress", message.clone()));
    } else if own.iter().all(|listener| listener.usable()) {
        conditions.push(Condition::yes("Accepted", "Accepted", "every listener is valid"));
    } else if valid > 0 {
        let message = "some listeners are not valid: see their conditions";
        conditions.push(Condition::yes("Accepted", "ListenersNotValid", message));
    } else {
        conditions.push(Condition::no("Accepted", "ListenersNotValid", "no listener is valid"));
    }
    conditions.push(match not_usable.first() {
        _ if valid == 0 => Condition::no("Programmed", "Invalid", "there is no valid listener to program"),
        Some((_, message)) => Condition::no("Programmed", "AddressNotUsable", message.clone()),
        None => Condition::yes("Programmed", "Programmed", "the configuration is ready for Envoys"),
    });
    let certificate = backend_certificate(object, view);
    conditions.extend(certificate.clone());
    if plan.listeners.iter().any(|l| l.client_validation.as_ref().is_some_and(|found| found.insecure_fallback)) {
        let message = "clients of some ports are let in whatever certificate they show, or none";
        conditions.push(Condition::yes("InsecureFrontendValidationMode", "ConfigurationChanged", message));
    }
    // Those that are accepted, which one good listener is enough for.
    let serving = plan.listeners.iter().filter(|listener| listener.usable());
    let sets: BTreeSet<&ObjectId> = serving.map(|listener| &listener.id.owner).filter(|owner| *owner != id).collect();
    let listeners = own.iter().map(|listener| listener_status(listener, view)).collect();
    let mut diagnostics: Vec<Diagnostic> = own.iter().flat_map(|l| findings(l, object)).collect();
    if plan.class_missing {
        let message = "its GatewayClass is not among the objects: the Gateway is taken as ours";
        let finding = Diagnostic::info("gateway-class-absent", place(object, "spec.gatewayClassName"), message);
        diagnostics.push(finding.about(id));
    }
    if let Some(message) = parameters {
        let place = place(object, "spec.infrastructure.parametersRef");
        diagnostics.push(Diagnostic::error(super::code("InvalidParameters"), place, message).about(id));
    }
    for (path, message) in unsupported.into_iter().chain(not_usable) {
        let finding = Diagnostic::error("gateway-address", place(object, path.as_str()), message);
        diagnostics.push(finding.about(id).help("the Gateway is served at its other addresses"));
    }
    if let Some(refused) = certificate.filter(|condition| !condition.holds) {
        let place = place(object, "spec.tls.backend.clientCertificateRef");
        diagnostics.push(Diagnostic::error(super::code(refused.reason), place, refused.message).about(id));
    }
    let status = Status {
        generation: object.meta.generation,
        conditions,
        listeners,
        attached_listener_sets: Some(sets.len()),
        ..Status::default()
    };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

/// The addresses of that sort that a Gateway asks for.
fn addresses(gateway: &Object, sort: Asked, view: &View<'_>) -> Vec<(FieldPath, String)> {
    let asked = gateway.spec::<GatewaySpec>().map(|spec| spec.addresses.as_slice()).unwrap_or_default();
    let of_sort = asked.iter().enumerate().filter(|(_, address)| judge(address, view.options) == sort);
    let words = |(index, address): (usize, &GatewayAddress)| {
        let value = address.value.as_deref().unwrap_or_default();
        let message = match sort {
            Asked::Unsupported => format!("addresses of type {} are none", address.kind.as_deref().unwrap_or_default()),
            _ => format!("{value} is not among the addresses that Gateways may have"),
        };
        (FieldPath::from("spec.addresses").index(index), message)
    };
    of_sort.map(words).collect()
}

/// Parameters that a Gateway names and that are not there, or are of a kind that holds none.
fn missing_parameters(id: &ObjectId, view: &View<'_>) -> Option<String> {
    let parameters = view.spec::<GatewaySpec>(id)?.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    match view.reference(id, "spec.infrastructure.parametersRef") {
        Some(edge) if edge.verdict == Verdict::Allowed => None,
        Some(edge) => Some(format!("{}: {}", edge.target, edge.verdict.words())),
        None => Some(format!("{} {} cannot hold parameters", parameters.kind, parameters.name)),
    }
}

/// The verdict on the certificate that a Gateway shows to its backends; none where it shows none.
fn backend_certificate(gateway: &Object, view: &View<'_>) -> Option<Condition> {
    gateway.spec::<GatewaySpec>()?.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let refused = |reason, message: String| Some(Condition::no("ResolvedRefs", reason, message));
    let Some(edge) = view.reference(&gateway.id, "spec.tls.backend.clientCertificateRef") else {
        return refused("InvalidClientCertificateRef", "only a Secret can hold a certificate".to_owned());
    };
    match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => match crate::render::secret::certificate_problem(id, view) {
            Some(problem) => refused("InvalidClientCertificateRef", format!("{id}: {problem}")),
            None => Some(Condition::yes("ResolvedRefs", "ResolvedRefs", "every reference is good")),
        },
        (target, Verdict::NotPermitted) => {
            refused("RefNotPermitted", format!("{target} is in another namespace and no ReferenceGrant permits it"))
        }
        (target, verdict) => refused("InvalidClientCertificateRef", format!("{target}: {}", verdict.words())),
    }
}

pub(super) fn of_listener_set(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    if object.spec::<ListenerSetSpec>().is_none() {
        return Outcome::default();
    }
    let Some(gateway) = gateway_of(id, view) else { return Outcome::default() };
    let Some(plan) = view.made::<Plan>(UnitId::Plan(gateway.clone())).filter(|plan| plan.ours) else {
        return Outcome::default();
    };
    let own: Vec<&PlannedListener> = plan.listeners.iter().filter(|listener| listener.id.owner == *id).collect();
    let mut status = Status { generation: object.meta.generation, ..Status::default() };
    if own.is_empty() {
        let message = format!("{gateway} takes no listeners from namespace {}", id.namespace);
        status.conditions.push(Condition::no("Accepted", "NotAllowed", message.clone()));
        status.conditions.push(Condition::no("Programmed", "NotAllowed", message.clone()));
        let finding = Diagnostic::error("listener-set-not-allowed", place(object, "spec.parentRef"), message)
            .about(id)
            .help("let the Gateway say in spec.allowedListeners which namespaces it takes listeners from");
        return Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics: vec![finding] };
    }
    let valid = own.iter().filter(|listener| listener.usable()).count();
    if valid == own.len() {
        status.conditions.push(Condition::yes("Accepted", "Accepted", "every listener is valid"));
    } else if valid > 0 {
        status.conditions.push(Condition::yes("Accepted", "ListenersNotValid", "some listeners are not valid"));
    } else {
        status.conditions.push(Condition::no("Accepted", "ListenersNotValid", "no listener is valid"));
    }
    status.conditions.push(if valid > 0 {
        Condition::yes("Programmed", "Programmed", "the configuration is ready for Envoys")
    } else {
        Condition::no("Programmed", "ListenersNotValid", "there is no valid listener to program")
    });
    status.listeners = own.iter().map(|listener| listener_status(listener, view)).collect();
    let diagnostics = own.iter().flat_map(|listener| findings(listener, object)).collect();
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

fn listener_status(listener: &PlannedListener, view: &View<'_>) -> ListenerStatus {
    let problem = |condition| listener.problems.iter().find(move |problem| problem.condition == condition);
    let verdict = |condition, good_reason, good: &'static str| match problem(condition) {
        Some(problem) => Condition::no(condition, problem.reason, problem.message.clone()),
        None => Condition::yes(condition, good_reason, good),
    };
    let conflict = match problem("Conflicted") {
        Some(problem) => Condition::yes("Conflicted", problem.reason, problem.message.clone()),
        None => Condition::no("Conflicted", "NoConflicts", "no other listener is in its way"),
    };
    let accepted = match problem("Conflicted") {
        Some(problem) => Condition::no("Accepted", problem.reason, problem.message.clone()),
        None => verdict("Accepted", "Accepted", "the listener is valid"),
    };
    let programmed = match problem("Conflicted") {
        Some(problem) => Condition::no("Programmed", problem.reason, problem.message.clone()),
        None if listener.usable() => {
            Condition::yes("Programmed", "Programmed", "the configuration is ready for Envoys")
        }
        None => Condition::no("Programmed", "Invalid", "the listener is not valid"),
    };
    let conditions =
        vec![accepted, programmed, verdict("ResolvedRefs", "ResolvedRefs", "every reference is good"), conflict];
    ListenerStatus {
        name: listener.id.section.clone(),
        supported_kinds: listener.kinds.clone(),
        attached_routes: view.made::<usize>(UnitId::AttachedRoutes(listener.id.clone())).copied().unwrap_or(0),
        conditions,
    }
}

fn findings(listener: &PlannedListener, object: &kinds::Object) -> Vec<Diagnostic> {
    let finding = |problem: &crate::attach::ListenerProblem| {
        let code = super::code(problem.reason);
        let place = place(object, problem.path.as_str());
        let message = format!("listener {}: {}", listener.id.section, problem.message);
        let found = if problem.fatal {
            Diagnostic::error(code, place, message)
        } else {
            Diagnostic::warning(code, place, message)
        };
        found.about(&object.id)
    };
    listener.problems.iter().map(finding).collect()
}
