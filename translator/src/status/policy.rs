//! The statuses of BackendTLSPolicies and Backends.

use kinds::gateway::BackendTlsPolicySpec;
use kinds::{Diagnostic, FieldPath, ObjectId};

use crate::diagnostics::place;
use crate::engine::{Outcome, View};
use crate::graph::{Role, Verdict};

/// A policy whose target is missing does nothing: said to whoever checks.
pub(super) fn of_backend_tls_policy(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    if object.spec::<BackendTlsPolicySpec>().is_none() {
        return Outcome::default();
    }
    let mut diagnostics = Vec::new();
    for edge in view.references(id) {
        let path = FieldPath::from(edge.path.as_str());
        let finding = match (edge.role, edge.verdict) {
            (_, Verdict::Allowed) => continue,
            (Role::PolicyTarget, Verdict::NotFound) => Diagnostic::warning(
                "target-not-found",
                place(object, path.as_str()),
                format!("{} does not exist", edge.target),
            )
            .help("the policy is left aside until its target exists"),
            (_, verdict) => Diagnostic::error(
                "invalid-reference",
                place(object, path.as_str()),
                format!("{}: {}", edge.target, verdict.words()),
            ),
        };
        diagnostics.push(finding.about(id));
    }
    Outcome { diagnostics, ..Outcome::default() }
}
