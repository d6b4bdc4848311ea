//! Forms that the official schemas refuse and that are read all the same: published guides use them.

use super::Violation;
use super::store::BrokenRule;
use crate::{FieldPath, Kind};

/// Fields of older releases, by kind: everything at or below the path.
const OLDER_FIELDS: [(Kind, &str, &str); 8] = [
    (Kind::AiGatewayRoute, "spec.schema", "the input schema is always OpenAI: the field is not needed"),
    (Kind::AiGatewayRoute, "spec.targetRefs", "read as spec.parentRefs, which is its name today"),
    (Kind::AiServiceBackend, "spec.timeouts", "read; today timeouts stand on the rule of the AIGatewayRoute"),
    (
        Kind::AiServiceBackend,
        "spec.backendSecurityPolicyRef",
        "read; today the BackendSecurityPolicy names its targets",
    ),
    (Kind::BackendSecurityPolicy, "spec.backendRefs", "read as spec.targetRefs, which is its name today"),
    (Kind::KgatewayBackend, "spec.ai.llm.provider", "read, as releases before took it"),
    (Kind::GatewayParameters, "spec.kube.aiExtension", "read and not needed: there is no extension to deploy"),
    (Kind::InferencePool, "spec.extensionRef", "read as spec.endpointPickerRef, which is its name today"),
];

/// Rules that older forms break, by kind and a distinctive part of the rule.
const OLDER_RULES: [(Kind, &str, &str); 1] =
    [(Kind::AiServiceBackend, "self.kind == 'Backend'", "a Service is read here as well as a Backend")];

pub(super) fn tolerate(kind: Kind, violations: &mut [Violation]) {
    for violation in violations {
        let row =
            OLDER_FIELDS.iter().find(|(of, path, _)| *of == kind && is_at_or_below(violation.path.as_str(), path));
        if let Some((_, path, words)) = row {
            violation.tolerated = true;
            violation.message = format!("{path} is a form of an older release");
            violation.help = Some((*words).to_owned());
        }
    }
}

/// A rule about a field that is tolerated, or about what holds that field, was not written for it.
pub(super) fn tolerate_rules(kind: Kind, broken: Vec<BrokenRule>, tolerated: &[FieldPath]) -> Vec<Violation> {
    let concerns_older_form = |path: &str| {
        tolerated.iter().any(|older| is_at_or_below(older.as_str(), path) || is_at_or_below(path, older.as_str()))
    };
    let judged = broken.into_iter().map(|BrokenRule { rule, mut violation }| {
        let row = OLDER_RULES.iter().find(|(of, part, _)| *of == kind && rule.contains(part));
        if let Some((_, _, words)) = row {
            violation.tolerated = true;
            violation.message = (*words).to_owned();
            violation.help = None;
        } else if concerns_older_form(violation.path.as_str()) {
            violation.tolerated = true;
        }
        violation
    });
    judged.collect()
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
