//! A user's patch of what is made: the last word on it.

use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Patch {
    #[serde(rename = "type", default)]
    pub kind: PatchType,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum PatchType {
    #[default]
    StrategicMerge,
    #[serde(rename = "JSONMerge")]
    JsonMerge,
}

/// Lists whose items are known by a field, by the name of the list. Kubernetes' types say so; other lists are one value.
const KEYS: [(&str, &[&str]); 11] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("volumeMounts", &["mountPath"]),
    // Of a container, and of a Service.
    ("ports", &["containerPort", "port"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("hostAliases", &["ip"]),
    ("volumeDevices", &["devicePath"]),
    ("resizePolicy", &["resourceName"]),
];

impl Patch {
    pub(super) fn apply(&self, target: &mut Value) {
        merge(target, &self.value, "", self.kind);
    }
}

fn merge(target: &mut Value, patch: &Value, name: &str, kind: PatchType) {
    match (target, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            if kind == PatchType::StrategicMerge && changes.get("$patch").and_then(Value::as_str) == Some("replace") {
                fields.clear();
            }
            for (field, change) in changes.iter().filter(|(field, _)| !field.starts_with('$')) {
                if change.is_null() {
                    fields.remove(field);
                } else {
                    merge(fields.entry(field.clone()).or_insert(Value::Null), change, field, kind);
                }
            }
        }
        (Value::Array(items), Value::Array(changes))
            if kind == PatchType::StrategicMerge && key(name, changes).is_some() =>
        {
            let key = key(name, changes).unwrap_or_default();
            for change in changes {
                merge_item(items, change, key);
            }
        }
        (target @ Value::Null, Value::Object(_)) => {
            *target = Value::Object(serde_json::Map::new());
            merge(target, patch, name, kind);
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// The field by which the items of a list are known: one that each of them has.
fn key(list: &str, items: &[Value]) -> Option<&'static str> {
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == list)?;
    keys.iter().copied().find(|key| items.iter().all(|item| item.get(key).is_some()))
}

fn merge_item(items: &mut Vec<Value>, change: &Value, key: &str) {
    let position = items.iter().position(|item| item.get(key) == change.get(key));
    let deletes = change.get("$patch").and_then(Value::as_str) == Some("delete");
    match (position, deletes) {
        (Some(index), true) => drop(items.remove(index)),
        (Some(index), false) => {
            if let Some(item) = items.get_mut(index) {
                merge(item, change, "", PatchType::StrategicMerge);
            }
        }
        (None, true) => {}
        (None, false) => items.push(change.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(kind: PatchType, mut target: Value, value: Value) -> Value {
        Patch { kind, value }.apply(&mut target);
        target
    }

    #[test]
    fn lists_are_merged_by_key_or_replaced() {
        let target = json!({"containers": [{"name": "envoy", "image": "a", "args": ["x"]}], "hostNetwork": true});
        let change = json!({"containers": [{"name": "envoy", "args": ["y"]}, {"name": "side"}], "hostNetwork": null});
        let strategic = patched(PatchType::StrategicMerge, target.clone(), change.clone());
        let both = json!({"containers": [{"name": "envoy", "image": "a", "args": ["y"]}, {"name": "side"}]});
        assert_eq!(strategic, both);
        let plain = patched(PatchType::JsonMerge, target.clone(), change);
        assert_eq!(plain["containers"], json!([{"name": "envoy", "args": ["y"]}, {"name": "side"}]));
        let gone = json!({"containers": [{"name": "envoy", "$patch": "delete"}]});
        assert_eq!(patched(PatchType::StrategicMerge, target, gone)["containers"], json!([]));
    }
}
