//! A policy laid over a less specific one.
//!
//! Both ways of merging are the same here: a field of the more specific policy replaces the other's, objects are merged
//! field by field, and a list is one value. The policies of Envoy Gateway have no list that is merged by a key.

use kinds::envoy_gateway::{BackendTrafficPolicySpec, MergeType, SecurityPolicySpec};
use kinds::{FieldPath, Kind, Object, Typed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Problem;
use crate::engine::View;
use crate::names::Chain;

/// Whether a policy asks to be merged with the next less specific one.
pub(crate) fn asked(policy: &Object) -> bool {
    let merge = match policy.id.kind {
        Kind::SecurityPolicy => policy.spec::<SecurityPolicySpec>().and_then(|spec| spec.merge_type),
        Kind::BackendTrafficPolicy => policy.spec::<BackendTrafficPolicySpec>().and_then(|spec| spec.merge_type),
        _ => None,
    };
    matches!(merge, Some(MergeType::StrategicMerge | MergeType::JsonMerge))
}

/// What a chain of policies says as one; none where one of them cannot be read, or they do not go together.
pub(crate) fn merged<T>(chain: &Chain, view: &View<'_>) -> Option<T>
where
    T: Typed + Clone + Serialize + DeserializeOwned,
{
    if chain.0.iter().any(|policy| view.object(policy).is_some_and(|object| object.unread().is_some())) {
        return None;
    }
    let mut specs = chain.0.iter().filter_map(|policy| view.spec::<T>(policy));
    let first = specs.next()?;
    let Some(parent) = specs.next() else { return Some(first.clone()) };
    overlaid(parent, first)
}

/// Why there is nothing that a chain says as one.
pub(super) fn problem(chain: &Chain, view: &View<'_>) -> Problem {
    let unread = chain.0.iter().find_map(|policy| Some((policy, view.object(policy)?.unread()?)));
    match unread {
        Some((policy, refusal)) => Problem::wrong(FieldPath::spec(), format!("{policy}: {}", refusal.message)),
        None => Problem::wrong(FieldPath::spec(), "the policies cannot be merged"),
    }
}

/// One content laid over another of the same kind.
pub(crate) fn overlaid<T: Serialize + DeserializeOwned>(below: &T, above: &T) -> Option<T> {
    let mut base = present(serde_json::to_value(below).ok()?);
    overlay(&mut base, present(serde_json::to_value(above).ok()?));
    serde_json::from_value(base).ok()
}

/// Without fields that were not written.
fn present(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(_, value)| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
            Value::Object(kept.map(|(name, value)| (name, present(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(present).collect()),
        other => other,
    }
}

fn overlay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                overlay(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
