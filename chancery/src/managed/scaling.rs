//! How many Envoys there are, where that is not a fixed number: the `spec` of an autoscaler, and that of a budget.

use serde_json::{Value, json};

use super::provider::{Disruption, Scaling};

pub(super) fn autoscaler(asked: &Scaling, deployment: &Value) -> Value {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        "minReplicas": asked.min_replicas.unwrap_or(1),
        "maxReplicas": asked.max_replicas.or(asked.min_replicas).unwrap_or(1),
    });
    if !asked.metrics.is_empty() {
        spec["metrics"] = json!(asked.metrics);
    }
    if let Some(behavior) = &asked.behavior {
        spec["behavior"] = behavior.clone();
    }
    spec
}

pub(super) fn budget(asked: &Disruption, selector: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": selector}});
    for (field, value) in [("minAvailable", &asked.min_available), ("maxUnavailable", &asked.max_unavailable)] {
        if let Some(value) = value {
            spec[field] = value.clone();
        }
    }
    spec
}
