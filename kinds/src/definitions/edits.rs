//! What the compatible definitions have beyond the official ones.

use serde_json::{Map, Value};

enum Edit {
    /// A field, by its path and the JSON of its schema.
    Add(&'static str, &'static str),
    /// A field that has the schema of another one, which has its name today.
    Alias(&'static str, &'static str),
    /// A rule of a field, known by a part of it, that goes.
    Drop(&'static str, &'static str),
    /// Every `secretRef` below the field may name a namespace.
    SecretNamespaces(&'static str),
}

use Edit::{Add, Alias, Drop, SecretNamespaces};

const API_SCHEMA: &str = r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "version": {"type": "string"}}}"#;
const TIMEOUTS: &str = r#"{"type": "object", "properties": {
    "request": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
    "backendRequest": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}}}"#;
const POLICY_REFERENCE: &str = r#"{"type": "object", "required": ["name"], "properties": {
    "group": {"type": "string"}, "kind": {"type": "string"}, "name": {"type": "string", "minLength": 1}}}"#;

/// By definition. A path that a version does not have is no part of that version.
const EDITS: [(&str, &[Edit]); 4] = [
    (
        "aigatewayroutes.aigateway.envoyproxy.io",
        &[Add("spec.schema", API_SCHEMA), Alias("spec.parentRefs", "spec.targetRefs")],
    ),
    (
        "aiservicebackends.aigateway.envoyproxy.io",
        &[
            Add("spec.timeouts", TIMEOUTS),
            Add("spec.backendSecurityPolicyRef", POLICY_REFERENCE),
            Drop("spec.backendRef", "self.kind == 'Backend'"),
        ],
    ),
    ("backends.gateway.kgateway.dev", &[SecretNamespaces("spec.ai.llm.provider")]),
    ("inferencepools.inference.networking.k8s.io", &[Alias("spec.endpointPickerRef", "spec.extensionRef")]),
];

/// The definition with its edits, as YAML; none when it has none.
pub(super) fn widened(name: &str, text: &str) -> Option<String> {
    let (_, edits) = EDITS.iter().find(|(edited, _)| *edited == name)?;
    let mut definition: Value = serde_saphyr::from_str(text).ok()?;
    for version in definition.pointer_mut("/spec/versions")?.as_array_mut()? {
        let root = version.pointer_mut("/schema/openAPIV3Schema")?;
        for edit in *edits {
            apply(edit, root);
        }
    }
    serde_saphyr::to_string(&definition).ok()
}

fn apply(edit: &Edit, root: &mut Value) -> Option<()> {
    match edit {
        Add(path, schema) => insert(root, path, serde_json::from_str(schema).ok()?),
        Alias(path, older) => {
            let schema = at(root, path)?.clone();
            insert(root, older, schema)
        }
        Drop(path, part) => {
            let rules = at(root, path)?.get_mut("x-kubernetes-validations")?.as_array_mut()?;
            rules.retain(|rule| !rule["rule"].as_str().is_some_and(|text| text.contains(part)));
            Some(())
        }
        SecretNamespaces(path) => {
            name_namespaces(at(root, path)?);
            Some(())
        }
    }
}

fn at<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(root, |node, field| node.get_mut("properties")?.get_mut(field))
}

fn insert(root: &mut Value, path: &str, schema: Value) -> Option<()> {
    let (parent, name) = path.rsplit_once('.')?;
    at(root, parent)?.get_mut("properties")?.as_object_mut()?.insert(name.to_owned(), schema);
    Some(())
}

fn name_namespaces(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            if let Some(reference) = fields.get_mut("secretRef").and_then(|schema| schema.get_mut("properties")) {
                let namespace = Map::from_iter([("type".to_owned(), Value::from("string"))]);
                reference["namespace"] = Value::Object(namespace);
            }
            fields.values_mut().for_each(name_namespaces);
        }
        Value::Array(items) => items.iter_mut().for_each(name_namespaces),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{compatible, official};

    #[test]
    fn every_edit_changes_the_stored_version() {
        for (name, edits) in EDITS {
            let text = official().find(|definition| definition.name == name).unwrap().yaml;
            let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
            let versions = definition["spec"]["versions"].as_array_mut().unwrap();
            let stored = versions.iter_mut().find(|version| version["storage"] == true).unwrap();
            for edit in edits {
                let before = stored.clone();
                apply(edit, stored.pointer_mut("/schema/openAPIV3Schema").unwrap());
                assert_ne!(before, *stored, "{name}: an edit without effect");
            }
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for definition in compatible().filter(|definition| definition.ours) {
            let value: Value = serde_saphyr::from_str(&definition.yaml).unwrap();
            assert_eq!(value["metadata"]["name"], definition.name);
            if let Some(expected) = widened(definition.name, &definition.yaml) {
                assert_eq!(serde_saphyr::from_str::<Value>(&expected).unwrap(), value);
            }
        }
    }
}
