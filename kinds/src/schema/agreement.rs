//! Rules evaluated on the object itself, held against the library: what is said to hold there must hold here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::node::Node;
use super::{defaults, store, structure};
use crate::{Kind, document};

/// All documents of the test data that have a schema.
fn documents() -> Vec<(Kind, String, String, Value)> {
    fn files(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata"), &mut paths);
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for origin in document::split(&Arc::from("f"), &Arc::from(text.as_str())) {
            let Ok(mut value) = serde_saphyr::from_str::<Value>(origin.text()) else { continue };
            let (Some(api_version), Some(name)) = (value["apiVersion"].as_str(), value["kind"].as_str()) else {
                continue;
            };
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let Some(kind) = Kind::lookup(group, name) else { continue };
            let (group, version) = (group.to_owned(), version.to_owned());
            if store::find(kind, &group, &version).is_some() {
                value.as_object_mut().unwrap().remove("status");
                found.push((kind, group, version, value));
            }
        }
    }
    found
}

/// Pointers to everything below `spec`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                pointers(field, &at, found);
                found.push(at);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let at = format!("{at}/{index}");
                pointers(item, &at, found);
                found.push(at);
            }
        }
        _ => {}
    }
}

/// The object without what the pointer names, with it twice, and with other values in its place.
fn variants(object: &Value, pointer: &str) -> Vec<Value> {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/").replace("~0", "~");
    let mut made = Vec::new();
    let mut without = object.clone();
    match without.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&last);
        }
        Some(Value::Array(items)) => {
            items.remove(last.parse().unwrap());
        }
        _ => return made,
    }
    made.push(without);
    let mut twice = object.clone();
    if let Some(Value::Array(items)) = twice.pointer_mut(parent) {
        let item = items[last.parse::<usize>().unwrap()].clone();
        items.push(item);
        made.push(twice);
    }
    let others = match object.pointer(pointer).unwrap() {
        Value::String(_) => vec![json!(""), json!("/a//b"), json!("Service"), json!("5s"), json!("Hostname")],
        Value::Number(_) => vec![json!(0), json!(101)],
        Value::Bool(value) => vec![json!(!value)],
        Value::Array(_) => vec![json!([])],
        _ => vec![],
    };
    for other in others {
        let mut changed = object.clone();
        *changed.pointer_mut(pointer).unwrap() = other;
        made.push(changed);
    }
    made
}

#[test]
fn what_holds_here_holds_for_the_library() {
    let (mut alike, mut left) = (0_usize, 0_usize);
    for (number, (kind, group, version, object)) in documents().into_iter().enumerate() {
        let schema = store::find(kind, &group, &version).unwrap();
        let mut all = Vec::new();
        pointers(&object["spec"], "/spec", &mut all);
        // Every few of them: together they reach every rule that the test data reaches.
        let some = all.iter().skip(number % 7).step_by(7);
        let changed: Vec<Value> = some.flat_map(|pointer| variants(&object, pointer)).collect();
        for mut object in std::iter::once(object).chain(changed) {
            defaults::apply(&schema.root, &mut object);
            if structure::check(&schema.root, &object).iter().any(|(_, breaks_rules)| *breaks_rules) {
                continue;
            }
            let broken = schema.broken_by_library(&object);
            if schema.root.rules_hold(&object) {
                let rules: Vec<&String> = broken.iter().map(|broken| &broken.rule).collect();
                assert!(rules.is_empty(), "{kind} {object} breaks {rules:?}");
                alike += 1;
            } else if broken.is_empty() {
                left += 1;
            }
        }
    }
    assert!(alike > 500, "{alike}");
    assert!(left * 20 < alike, "{left} objects are fine and {alike} known to be");
}

#[test]
fn few_rules_are_left_to_the_library() {
    fn unknown(node: &Node) -> usize {
        let combined = node.all_of.iter().chain(&node.any_of).chain(&node.one_of);
        let below = node.properties.values().chain(node.items.as_deref()).chain(node.additional.as_deref());
        node.rules.iter().filter(|rule| !rule.is_known()).count() + combined.chain(below).map(unknown).sum::<usize>()
    }
    let counts: Vec<(Kind, usize)> = Kind::TABLE
        .iter()
        .filter_map(|info| Some((info.kind, unknown(&store::find(info.kind, info.group, info.versions[0])?.root))))
        .filter(|(_, count)| *count > 0)
        .collect();
    let known = [(Kind::Gateway, 2), (Kind::TlsRoute, 2)];
    assert_eq!(counts, known);
}
