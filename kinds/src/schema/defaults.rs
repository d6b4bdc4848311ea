//! Defaults, as an API server fills them in: before anything else is judged. A `null` counts as absent.

use serde_json::Value;

use super::node::Node;

pub(super) fn apply(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !node.preserves_unknown {
                let nulls_stay = |name: &str| node.properties.get(name).is_some_and(|field| field.nullable);
                fields.retain(|name, field| !field.is_null() || nulls_stay(name));
            }
            for (name, field) in &node.properties {
                if let Some(default) = field.default.as_ref().filter(|_| !fields.contains_key(name)) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(present) = fields.get_mut(name) {
                    apply(field, present);
                }
            }
            if let Some(values) = &node.additional {
                fields.values_mut().for_each(|field| apply(values, field));
            }
        }
        Value::Array(items) => {
            if let Some(node) = &node.items {
                items.iter_mut().for_each(|item| apply(node, item));
            }
        }
        _ => {}
    }
}
