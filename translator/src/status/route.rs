//! The statuses of routes: for each parent, whether it takes the route and whether the route's references are good.

use kinds::{Diagnostic, FieldPath, Kind, Object, ObjectId};

use super::{Condition, ParentStatus, Status};
use crate::attach::{Attachment, Parent, Parents, parent_refs};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::routing::{AttachedRules, Refused, judge};

pub(super) fn of_route(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let parents =
        view.made::<Parents>(UnitId::Parents(id.clone())).map(|parents| parents.0.as_slice()).unwrap_or_default();
    let problems = problems(object, parents, view);
    let mut diagnostics = Vec::new();
    let mut statuses = Vec::new();
    for parent in parents {
        let refused = problems.iter().find(|problem| problem.condition == "Accepted");
        let accepted = match (&parent.refusal, refused) {
            // Said already by who could not read it.
            (Some(refusal), _) if object.unread().is_some() => {
                Condition::no("Accepted", refusal.reason, refusal.message.clone())
            }
            (Some(refusal), _) => {
                let found = Diagnostic::error(
                    super::code(refusal.reason),
                    place(object, refusal.path.as_str()),
                    refusal.message.clone(),
                );
                diagnostics.push(found.about(id));
                Condition::no("Accepted", refusal.reason, refusal.message.clone())
            }
            (None, Some(problem)) => Condition::no("Accepted", problem.reason, problem.message.clone()),
            (None, None) => Condition::yes("Accepted", "Accepted", "the parent takes the route"),
        };
        let unresolved = problems.iter().find(|problem| problem.condition == "ResolvedRefs");
        let resolved = match unresolved {
            Some(problem) => Condition::no("ResolvedRefs", problem.reason, problem.message.clone()),
            None => Condition::yes("ResolvedRefs", "ResolvedRefs", "every reference is good"),
        };
        let reference = parent_refs(object).get(parent.index).and_then(|r| serde_json::to_value(r).ok());
        statuses.push(ParentStatus {
            reference: reference.unwrap_or_default(),
            controller: parent.controller.clone(),
            conditions: vec![accepted, resolved],
        });
    }
    for problem in &problems {
        let found = Diagnostic::error(
            super::code(problem.reason),
            place(object, problem.path.as_str()),
            problem.message.clone(),
        );
        diagnostics.push(with_help(found, problem).about(id));
    }
    diagnostics.extend(orphaned(object, parents.len(), view));
    let conditions =
        if id.kind == Kind::AiGatewayRoute { vec![super::ai::route_condition(&problems)] } else { Vec::new() };
    let status = Status { generation: object.meta.generation, conditions, parents: statuses, ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

/// A route that no Gateway of ours was asked to take serves nothing.
fn orphaned(object: &Object, judged: usize, view: &View<'_>) -> Vec<Diagnostic> {
    if parent_refs(object).is_empty() {
        let found = Diagnostic::warning(
            "route-without-parent",
            place(object, "spec"),
            "the route names no parent and serves nothing",
        );
        return vec![found.about(&object.id).help("name a Gateway in spec.parentRefs")];
    }
    if judged > 0 {
        return Vec::new();
    }
    let missing = parent_refs(object).iter().enumerate().filter_map(|(index, _)| {
        let path = FieldPath::from("spec.parentRefs").index(index);
        let edge = view.reference(&object.id, path.as_str())?;
        (edge.verdict == crate::graph::Verdict::NotFound).then(|| {
            let found = Diagnostic::warning(
                "parent-not-found",
                place(object, path.as_str()),
                format!("{} does not exist", edge.target),
            );
            found.about(&object.id).help("add the Gateway, or name one that exists")
        })
    });
    missing.collect()
}

fn with_help(found: Diagnostic, problem: &Refused) -> Diagnostic {
    match problem.reason {
        "RefNotPermitted" => found.help("add a ReferenceGrant to the namespace of the target"),
        "BackendNotFound" => found.help("its share of the requests is answered 500 until it exists"),
        "InvalidKind" => found.help("a backend is a Service or a Backend (gateway.envoyproxy.io)"),
        _ => found,
    }
}

/// What keeps rules from working: what a listener that serves them found, or would have found.
fn problems(object: &Object, parents: &[Parent], view: &View<'_>) -> Vec<Refused> {
    if object.id.kind == Kind::AiGatewayRoute {
        return super::ai::route_problems(object, view);
    }
    let mut attached = parents.iter().flat_map(|parent| &parent.attached);
    let served = attached.next();
    let attached = |at: &Attachment| UnitId::Attached(object.id.clone(), at.listener.clone());
    match served.and_then(|at| view.made::<AttachedRules>(attached(at))) {
        Some(rules) => rules.problems.clone(),
        None => judge(object, view).problems,
    }
}
