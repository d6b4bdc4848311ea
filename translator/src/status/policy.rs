//! The statuses of BackendTLSPolicies: for each Gateway that reaches a target, whether the policy is in force there.

use std::collections::BTreeMap;

use kinds::gateway::{BackendTlsPolicySpec, LocalPolicyTargetReference};
use kinds::{Diagnostic, FieldPath, Kind, Object, ObjectId};
use serde_json::json;
use smol_str::SmolStr;

use super::{Condition, ParentStatus, Status};
use crate::attach::Parents;
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Role, Target, Verdict};
use crate::render::upstream_tls::authority_verdicts;

/// As many ancestors as a status can hold.
const MOST_ANCESTORS: usize = 16;

pub(super) fn of_backend_tls_policy(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let Some(spec) = object.spec::<BackendTlsPolicySpec>() else { return Outcome::default() };
    let mut diagnostics = Vec::new();
    let (resolved, refusal) = authorities(object, spec, view, &mut diagnostics);
    let mut ancestors = BTreeMap::new();
    for (index, target) in spec.target_refs.iter().enumerate() {
        let path = FieldPath::from("spec.targetRefs").index(index);
        let Some(edge) = view.reference(id, path.as_str()) else { continue };
        let service = match (&edge.target, edge.verdict) {
            (Target::Object(service), Verdict::Allowed) => service,
            (missing, Verdict::NotFound) => {
                let message = format!("{missing} does not exist");
                let finding = Diagnostic::warning("target-not-found", place(object, path.as_str()), message);
                diagnostics.push(finding.about(id).help("the policy is left aside until its target exists"));
                continue;
            }
            (other, verdict) => {
                let message = format!("{other}: {}", verdict.words());
                diagnostics
                    .push(Diagnostic::error("invalid-reference", place(object, path.as_str()), message).about(id));
                continue;
            }
        };
        let older = older(object, service, target, view);
        if let Some(older) = &older {
            let message = format!("{} has {older} already, which is older", target.name);
            let finding = Diagnostic::warning("policy-conflict", place(object, path.as_str()), message);
            diagnostics
                .push(finding.about(id).help("the older policy is in force: merge the two, or choose other targets"));
        }
        let accepted = match (older, &refusal) {
            (Some(older), _) => Condition::no("Accepted", "Conflicted", format!("{older} is in force, which is older")),
            (None, Some(message)) => Condition::no("Accepted", "NoValidCACertificate", message.clone()),
            (None, None) => Condition::yes("Accepted", "Accepted", "the policy is in force"),
        };
        for (gateway, controller) in gateways(service, view) {
            // One target that is in force outweighs another that is not.
            let entry = ancestors.entry(gateway).or_insert_with(|| (controller, accepted.clone()));
            if !entry.1.holds {
                entry.1 = accepted.clone();
            }
        }
    }
    let status = |(gateway, (controller, accepted)): (ObjectId, (SmolStr, Condition))| ParentStatus {
        reference: json!({
            "group": gateway.kind.group(),
            "kind": gateway.kind.name(),
            "namespace": gateway.namespace,
            "name": gateway.name,
        }),
        controller,
        conditions: vec![accepted, resolved.clone()],
    };
    let ancestors: Vec<_> = ancestors.into_iter().map(status).take(MOST_ANCESTORS).collect();
    if ancestors.is_empty() {
        return Outcome { diagnostics, ..Outcome::default() };
    }
    let status = Status { generation: object.meta.generation, ancestors, ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

/// The verdict on the references to authorities, and what is wrong where none of them is good.
fn authorities(
    object: &Object,
    spec: &BackendTlsPolicySpec,
    view: &View<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Condition, Option<String>) {
    let good = Condition::yes("ResolvedRefs", "ResolvedRefs", "every reference is good");
    if spec.validation.ca_certificate_refs.is_empty() {
        return (good, None);
    }
    let verdicts = authority_verdicts(object, spec, view);
    let none_good = verdicts.iter().all(|(_, verdict)| verdict.is_err());
    let mut first = None;
    for (path, refused) in verdicts.into_iter().filter_map(|(path, verdict)| Some((path, verdict.err()?))) {
        let finding =
            Diagnostic::error(super::code(refused.reason), place(object, path.as_str()), refused.message.clone());
        diagnostics
            .push(finding.about(&object.id).help("until then nothing is sent to a server that only it can vouch for"));
        first.get_or_insert(refused);
    }
    match first {
        None => (good, None),
        Some(refused) => {
            let message = none_good.then(|| format!("none of the authorities is good: {}", refused.message));
            (Condition::no("ResolvedRefs", refused.reason, refused.message), message)
        }
    }
}

/// The policy that was there first for the same target.
fn older(
    object: &Object,
    service: &ObjectId,
    target: &LocalPolicyTargetReference,
    view: &View<'_>,
) -> Option<ObjectId> {
    let rivals = view.referrers_of(service, Role::PolicyTarget, Kind::BackendTlsPolicy);
    let mut others = rivals.filter(|rival| **rival != object.id);
    let elder = others.find(|rival| {
        let Some(rival) = view.object(rival) else { return false };
        let same = rival.spec::<BackendTlsPolicySpec>().is_some_and(|spec| {
            spec.target_refs.iter().any(|other| {
                other.kind == target.kind && other.name == target.name && other.section_name == target.section_name
            })
        });
        same && rival.age_order() < object.age_order()
    });
    elder.cloned()
}

/// The Gateways through which a backend is reached, with the controllers that sign for them.
fn gateways(backend: &ObjectId, view: &View<'_>) -> BTreeMap<ObjectId, SmolStr> {
    let mut found = BTreeMap::new();
    for referrer in view.referrers(backend, Role::Backend) {
        // Between a backend and a route by model stands a backend of that model.
        if matches!(referrer.kind, Kind::AiServiceBackend) {
            found.extend(gateways(referrer, view));
        }
        let Some(parents) = view.made::<Parents>(UnitId::Parents(referrer.clone())) else { continue };
        let taken = parents.0.iter().filter(|parent| parent.refusal.is_none());
        found.extend(taken.map(|parent| (parent.gateway.clone(), parent.controller.clone())));
    }
    found
}
