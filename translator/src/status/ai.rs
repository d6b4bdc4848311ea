//! The statuses of AI backends and their credentials, of pools, and of kinds that say something to nobody here.

use std::collections::BTreeSet;

use kinds::ai::{AiGatewayRouteSpec, AiServiceBackendSpec, BackendSecurityPolicySpec, GatewayConfigSpec};
use kinds::inference::{InferencePoolSpec, InferenceServiceSpec};
use kinds::{Diagnostic, FieldPath, Kind, Object, ObjectId};
use serde_json::json;
use smol_str::SmolStr;

use super::{Condition, ParentStatus, Status};
use crate::ai;
use crate::attach::{Parents, Plan, gateway_of};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Role, Target, Verdict};
use crate::policy::external;
use crate::routing::Refused;

pub(super) fn evaluate(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    match id.kind {
        Kind::AiServiceBackend => of_backend(object, view),
        Kind::BackendSecurityPolicy => of_security(object, view),
        Kind::InferencePool => of_pool(object, view),
        Kind::GatewayConfig => of_gateway_config(object),
        Kind::KgatewayBackend => verdict(object, "ai-backend", ai::usable(id, view).err().map(|broken| broken.message)),
        Kind::GatewayParameters => {
            let message = "has nothing that concerns the configuration of Envoy and is left aside";
            let finding = Diagnostic::info("nothing-to-translate", place(object, "spec"), message).about(id);
            Outcome { diagnostics: vec![finding], ..Outcome::default() }
        }
        Kind::InferenceService => of_inference_service(object),
        Kind::EnvoyPatchPolicy | Kind::EnvoyExtensionPolicy => of_extension(object, view),
        _ => Outcome::default(),
    }
}

/// The one condition of Envoy AI Gateway's kinds, and a finding when it does not hold.
fn verdict(object: &Object, code: &'static str, problem: Option<String>) -> Outcome {
    let condition = match &problem {
        None => Condition::yes("Accepted", "ReconciliationSucceeded", "the object is in use"),
        Some(message) => Condition::no("NotAccepted", "ReconciliationFailed", message.clone()),
    };
    let status = Status { generation: object.meta.generation, conditions: vec![condition], ..Status::default() };
    let finding = problem.map(|message| Diagnostic::error(code, place(object, "spec"), message).about(&object.id));
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics: finding.into_iter().collect() }
}

fn of_backend(object: &Object, view: &View<'_>) -> Outcome {
    let Some(spec) = object.spec::<AiServiceBackendSpec>() else { return Outcome::default() };
    let mut outcome = verdict(object, "ai-backend", ai::backend_problem(&object.id, view));
    if spec.timeouts.is_some() {
        let message = "timeouts of a backend are an older form, taken for rules that say none themselves";
        let finding = Diagnostic::info("older-form", place(object, "spec.timeouts"), message).about(&object.id);
        outcome.diagnostics.push(finding.help("write them as spec.rules[].timeouts of the AIGatewayRoute"));
    }
    outcome
}

fn of_security(object: &Object, view: &View<'_>) -> Outcome {
    let Some(spec) = object.spec::<BackendSecurityPolicySpec>() else { return Outcome::default() };
    let mut problem = None;
    let mut diagnostics = Vec::new();
    let mut warn = |code, path: &str, message: String, help: &str| {
        diagnostics.push(Diagnostic::warning(code, place(object, path), message).about(&object.id).help(help));
    };
    for edge in view.references(&object.id) {
        match (edge.role, edge.verdict) {
            (_, Verdict::Allowed) => {}
            (Role::PolicyTarget, _) => {
                let help = "the policy is left aside until its target exists";
                warn("target-not-found", &edge.path, format!("{} does not exist", edge.target), help);
            }
            (_, found) => {
                let message = format!("{}: {}", edge.target, found.words());
                let help = "backends that need this credential answer 500 until it is there";
                warn("secret-not-found", &edge.path, message.clone(), help);
                problem = Some(message);
            }
        }
    }
    let named = view.referrers(&object.id, Role::Credentials).next().is_some();
    if spec.target_refs.is_empty() && !named {
        let message = "nothing refers to the policy, and it names no target: it protects nothing".to_owned();
        warn("policy-without-target", "spec", message, "name an AIServiceBackend in spec.targetRefs");
    }
    if let Some(unsupported) = ai::unsupported_credential(spec) {
        problem = Some(unsupported);
    }
    let mut outcome = verdict(object, "credential", problem);
    outcome.diagnostics.extend(diagnostics);
    outcome
}

fn of_gateway_config(object: &Object) -> Outcome {
    let Some(spec) = object.spec::<GatewayConfigSpec>() else { return verdict(object, "gateway-config", None) };
    let wrong = ai::cost_problems(&spec.global_llm_request_costs, &FieldPath::from("spec.globalLLMRequestCosts"));
    let words = |(path, message): &(FieldPath, String)| format!("{path}: {message}");
    let mut outcome = verdict(object, "gateway-config", wrong.first().map(words));
    if !wrong.is_empty() {
        let finding = |(path, message): (FieldPath, String)| {
            Diagnostic::error("invalid-cost", place(object, path.as_str()), message).about(&object.id)
        };
        outcome.diagnostics = wrong.into_iter().map(finding).collect();
    }
    if spec.ext_proc.is_some() {
        let message = "there is no external processor beside Envoy here: its settings are left aside";
        let finding = Diagnostic::info("nothing-to-translate", place(object, "spec.extProc"), message);
        outcome.diagnostics.push(finding.about(&object.id));
    }
    if spec.forward_proxy.is_some() {
        let message = "a forward proxy to providers is not supported";
        let finding = Diagnostic::error("unsupported-value", place(object, "spec.forwardProxy"), message);
        outcome.diagnostics.push(finding.about(&object.id));
    }
    outcome
}

/// A pool hears from each Gateway whose routes lead to it.
fn of_pool(object: &Object, view: &View<'_>) -> Outcome {
    if object.spec::<InferencePoolSpec>().is_none() {
        return Outcome::default();
    }
    let id = &object.id;
    let broken = ai::usable(id, view).err();
    let mut gateways: Vec<(ObjectId, SmolStr)> = Vec::new();
    for route in view.referrers(id, Role::Backend) {
        let Some(parents) = view.made::<Parents>(UnitId::Parents(route.clone())) else { continue };
        for parent in parents.0.iter().filter(|parent| parent.refusal.is_none()) {
            gateways.push((parent.gateway.clone(), parent.controller.clone()));
        }
    }
    gateways.sort();
    gateways.dedup();
    let parents = gateways.into_iter().map(|(gateway, controller)| {
        let resolved = match &broken {
            None => Condition::yes("ResolvedRefs", "ResolvedRefs", "every reference is good"),
            Some(broken) => Condition::no("ResolvedRefs", "InvalidExtensionRef", broken.message.clone()),
        };
        ParentStatus {
            reference: json!({
                "group": gateway.kind.group(), "kind": "Gateway",
                "namespace": gateway.namespace, "name": gateway.name,
            }),
            controller,
            conditions: vec![
                Condition::yes("Accepted", "Accepted", "routes of the Gateway lead to the pool"),
                resolved,
            ],
        }
    });
    let status = Status { generation: object.meta.generation, parents: parents.collect(), ..Status::default() };
    let finding = broken.map(|broken| {
        Diagnostic::error("endpoint-picker", place(object, "spec.endpointPickerRef"), broken.message).about(id)
    });
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics: finding.into_iter().collect() }
}

/// A pod with more requested than allowed is refused by every API server, and then nothing serves the model.
fn of_inference_service(object: &Object) -> Outcome {
    let Some(model) = object.spec::<InferenceServiceSpec>().and_then(|spec| spec.predictor.model.as_ref()) else {
        return Outcome::default();
    };
    let base = FieldPath::from("spec.predictor.model.resources.requests");
    let over = model.resources.requests.iter().filter_map(|(name, requested)| {
        let limit = model.resources.limits.get(name)?;
        (quantity(requested)? > quantity(limit)?).then(|| {
            let message =
                format!("requests more {name} than its limit allows: {} is over {}", plain(requested), plain(limit));
            Diagnostic::warning("request-over-limit", place(object, base.field(name).as_str()), message)
                .about(&object.id)
                .help("an API server refuses such a pod")
        })
    });
    Outcome { diagnostics: over.collect(), ..Outcome::default() }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// A plain number of units, as CPUs and devices are counted; none for what has other suffixes.
fn quantity(value: &serde_json::Value) -> Option<f64> {
    let text = plain(value);
    match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok().map(|milli| milli / 1000.0),
        None => text.parse().ok(),
    }
}

/// What keeps the rules of an AI route from working.
pub(super) fn route_problems(object: &Object, view: &View<'_>) -> Vec<Refused> {
    let mut found = Vec::new();
    let Some(spec) = object.spec::<AiGatewayRouteSpec>() else { return found };
    for (path, message) in ai::cost_problems(&spec.llm_request_costs, &FieldPath::from("spec.llmRequestCosts")) {
        found.push(Refused { condition: "Accepted", reason: "UnsupportedValue", message, path });
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let base = FieldPath::from("spec.rules").index(index).field("backendRefs");
        for (at, reference) in rule.backend_refs.iter().enumerate() {
            let path = base.index(at);
            if let Err(broken) = ai::resolve_share(object, &path, reference, view) {
                let condition = if broken.reason == "UnsupportedValue" { "Accepted" } else { "ResolvedRefs" };
                found.push(Refused { condition, reason: broken.reason, message: broken.message, path });
            }
        }
    }
    found
}

/// The condition of Envoy AI Gateway beside those of the parents.
pub(super) fn route_condition(problems: &[Refused]) -> Condition {
    match problems.first() {
        None => Condition::yes("Accepted", "ReconciliationSucceeded", "every rule is in use"),
        Some(problem) => Condition::no("NotAccepted", "ReconciliationFailed", problem.message.clone()),
    }
}

/// The controllers that a Gateway, or the Gateways of a route, belong to.
fn controllers(target: &ObjectId, view: &View<'_>) -> BTreeSet<SmolStr> {
    match target.kind {
        Kind::Gateway => {
            let plan = view.made::<Plan>(UnitId::Plan(target.clone())).filter(|plan| plan.ours);
            plan.map(|plan| plan.controller.clone()).into_iter().collect()
        }
        Kind::ListenerSet => gateway_of(target, view).map(|gateway| controllers(&gateway, view)).unwrap_or_default(),
        _ => {
            let parents = view.made::<Parents>(UnitId::Parents(target.clone()));
            parents.into_iter().flat_map(|parents| &parents.0).map(|parent| parent.controller.clone()).collect()
        }
    }
}

/// Patches and extensions have a status for each ancestor.
fn of_extension(object: &Object, view: &View<'_>) -> Outcome {
    let problem =
        if object.id.kind == Kind::EnvoyExtensionPolicy { external::render(object, view).err() } else { None };
    let mut diagnostics = Vec::new();
    let mut ancestors = Vec::new();
    for edge in view.references(&object.id).filter(|edge| edge.role == Role::PolicyTarget) {
        let Target::Object(target) = &edge.target else { continue };
        if edge.verdict != Verdict::Allowed {
            let message = format!("{target} does not exist");
            let finding = Diagnostic::warning("target-not-found", place(object, &edge.path), message).about(&object.id);
            diagnostics.push(finding.help("the policy is left aside until its target exists"));
            continue;
        }
        let accepted = match &problem {
            None => Condition::yes("Accepted", "Accepted", "the policy is in force"),
            Some(problem) => Condition::no("Accepted", "Invalid", problem.message.clone()),
        };
        ancestors.extend(controllers(target, view).into_iter().map(|controller| ParentStatus {
            reference: json!({
                "group": target.kind.group(), "kind": target.kind.name(),
                "namespace": target.namespace, "name": target.name,
            }),
            controller,
            conditions: vec![accepted.clone()],
        }));
    }
    diagnostics.extend(problem.map(|problem| {
        Diagnostic::error("invalid-policy", place(object, problem.path.as_str()), problem.message)
            .about(&object.id)
            .help("until then the routes that it is about answer 500")
    }));
    let status = Status { generation: object.meta.generation, ancestors, ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}
