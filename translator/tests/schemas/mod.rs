//! Official definitions, and objects made of them that have every field.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kinds::Kind;
use serde_json::{Map, Value, json};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The schema of `spec` in the official definition of a kind.
pub(crate) fn schema(kind: Kind) -> Value {
    let path = root().join(format!("kinds/schemas/{}.{}.yaml", kind.info().plural, kind.group()));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let definition: Value = serde_saphyr::from_str(&text).unwrap();
    let versions = definition["spec"]["versions"].as_array().unwrap();
    let newest = kind.info().versions[0];
    let version = versions.iter().find(|version| version["name"] == newest).unwrap_or(&versions[0]);
    version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The paths of all fields, without indices; what is below a map of texts is the map.
pub(crate) fn fields(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let properties = schema["properties"].as_object().or_else(|| schema["items"]["properties"].as_object());
    for (name, inner) in properties.into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields(inner, &path, found);
        found.insert(path);
    }
}

/// A value with every field that the schema has.
pub(crate) fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|words| words.first()) {
        return first.clone();
    }
    let combined = schema["allOf"].as_array().into_iter().flatten();
    if let Some(word) = combined.filter_map(|part| part["enum"].as_array()?.first()).next() {
        return word.clone();
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    if schema["x-kubernetes-int-or-string"] == true {
        return json!(7);
    }
    match schema["type"].as_str() {
        Some("object") => {
            let Some(properties) = schema["properties"].as_object() else {
                return match &schema["additionalProperties"] {
                    Value::Object(_) => json!({"key": sample(&schema["additionalProperties"])}),
                    _ => json!({"any": "thing"}),
                };
            };
            let fields: Map<String, Value> =
                properties.iter().map(|(name, inner)| (name.clone(), sample(inner))).collect();
            Value::Object(fields)
        }
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        _ if pattern.contains("h|m|s|ms") => json!("1s"),
        // Words that the schema does not list, as its CEL rules do.
        _ => json!(schema["default"].as_str().unwrap_or("text")),
    }
}
