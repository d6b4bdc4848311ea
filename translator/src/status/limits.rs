//! What the author of a policy that only limits is told.

use kinds::{Diagnostic, Kind, ObjectId};

use super::{Condition, Status};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, View};
use crate::graph::{Role, Target, Verdict};

pub(super) fn evaluate(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let mut diagnostics = Vec::new();
    for edge in view.references(id).filter(|edge| edge.role == Role::PolicyTarget) {
        let at = place(object, &edge.path);
        let finding = match (&edge.target, edge.verdict) {
            (Target::Object(target), _) if !fits(id, target) => {
                Diagnostic::error("invalid-target", at, format!("a {} cannot be about {target}", id.kind))
            }
            (_, Verdict::Allowed) => continue,
            (target, _) => Diagnostic::warning("target-not-found", at, format!("{target} does not exist"))
                .help("the policy is left aside until its target exists"),
        };
        diagnostics.push(finding.about(id));
    }
    let problems = crate::policy::traffic::problems(id, view);
    let condition = match problems.first() {
        None => Condition::yes("Accepted", "ReconciliationSucceeded", "the policy is in force"),
        Some(problem) => {
            Condition::no("NotAccepted", "ReconciliationFailed", format!("{}: {}", problem.path, problem.message))
        }
    };
    diagnostics.extend(problems.into_iter().map(|problem| {
        let code = if problem.unsupported { "unsupported-field" } else { "invalid-policy" };
        Diagnostic::error(code, place(object, problem.path.as_str()), problem.message)
            .about(id)
            .help("until then the routes that it is about answer 500")
    }));
    let status = Status { generation: object.meta.generation, conditions: vec![condition], ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

fn fits(policy: &ObjectId, target: &ObjectId) -> bool {
    match policy.kind {
        Kind::QuotaPolicy => target.kind == Kind::AiServiceBackend,
        _ => target.kind == Kind::HttpRoute && target.namespace == policy.namespace,
    }
}
