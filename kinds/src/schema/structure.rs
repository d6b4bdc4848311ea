//! Structure: types, required fields, bounds, lists without doubles.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::Violation;
use super::node::{Node, Type};
use crate::FieldPath;

/// A violation, and whether it is of the sort after which rules are not looked at.
type Found = (Violation, bool);

/// Fields that no schema lists and every object has.
const TOP_LEVEL: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) fn unknown_fields(root: &Node, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, field) in object.as_object().into_iter().flatten() {
        if TOP_LEVEL.contains(&name.as_str()) {
            continue;
        }
        let path = FieldPath::from(name.as_str());
        match root.properties.get(name) {
            Some(node) => unknown(node, field, &path, &mut found),
            None => found.push(unknown_field(root, name, path)),
        }
    }
    found
}

fn unknown(node: &Node, value: &Value, path: &FieldPath, found: &mut Vec<Violation>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (node.properties.get(name), &node.additional) {
                    (Some(node), _) => unknown(node, field, &path.field(name), found),
                    (None, Some(values)) => unknown(values, field, &path.field(name), found),
                    (None, None) if node.takes_any_field() => {}
                    (None, None) => found.push(unknown_field(node, name, path.field(name))),
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                unknown(node, item, &path.index(index), found);
            }
        }
        _ => {}
    }
}

fn unknown_field(node: &Node, name: &str, path: FieldPath) -> Violation {
    let violation = Violation::new("unknown-field", path, format!("there is no field `{name}` here"));
    let names = node.field_names();
    let near = names
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&candidate.to_lowercase(), &name.to_lowercase()), candidate));
    match near.min() {
        Some((distance, candidate)) if distance <= 1 + name.len() / 4 => {
            violation.help(format!("did you mean `{candidate}`?"))
        }
        _ if names.is_empty() => violation,
        _ => violation.help(format!("the fields here are {}", names.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

pub(super) fn check(root: &Node, object: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    for name in &root.required {
        if object.get(name).is_none() {
            found.push((missing(&FieldPath::root(), name), true));
        }
    }
    for (name, field) in object.as_object().into_iter().flatten() {
        if let Some(node) = root.properties.get(name).filter(|_| !TOP_LEVEL.contains(&name.as_str())) {
            walk(node, field, &FieldPath::from(name.as_str()), &mut found);
        }
    }
    found
}

fn missing(path: &FieldPath, name: &str) -> Violation {
    Violation::new("missing-field", path.field(name), format!("`{name}` is required"))
}

fn walk(node: &Node, value: &Value, path: &FieldPath, found: &mut Vec<Found>) {
    if value.is_null() && node.nullable {
        return;
    }
    if let Some(expected) = wrong_type(node.ty, value) {
        let message = format!("expected {expected}, found {}", describe(value));
        found.push((Violation::new("wrong-type", path.clone(), message), true));
        return;
    }
    if !node.allowed.is_empty() && !node.allowed.contains(value) {
        let words: Vec<String> = node.allowed.iter().map(plain).collect();
        let violation = Violation::new("unsupported-value", path.clone(), format!("{} is not supported", plain(value)));
        found.push((violation.help(format!("use one of {}", words.join(", "))), true));
    }
    match value {
        Value::String(text) => of_string(node, text, path, found),
        Value::Number(number) => of_number(node, number.as_f64().unwrap_or_default(), path, found),
        Value::Array(items) => of_array(node, items, path, found),
        Value::Object(fields) => of_object(node, fields, path, found),
        _ => {}
    }
    combined(node, value, path, found);
}

fn wrong_type(ty: Type, value: &Value) -> Option<&'static str> {
    let fits = match ty {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::IntOrString => value.is_string() || value.is_i64() || value.is_u64(),
    };
    let name = match ty {
        Type::Any => "anything",
        Type::Object => "fields",
        Type::Array => "a list",
        Type::String => "a string",
        Type::Integer => "a whole number",
        Type::Number => "a number",
        Type::Boolean => "true or false",
        Type::IntOrString => "a whole number or a string",
    };
    (!fits).then_some(name)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "fields".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Bool(value) => {
            format!("{value}: YAML reads words like yes, no and on as true or false unless they are quoted")
        }
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("`{text}`"))
}

fn of_string(node: &Node, text: &str, path: &FieldPath, found: &mut Vec<Found>) {
    let length = text.chars().count() as u64;
    if let Some(most) = node.max_length.filter(|most| length > *most) {
        let message = format!("{length} characters, and {most} are the most");
        found.push((Violation::new("too-long", path.clone(), message), true));
    }
    if let Some(least) = node.min_length.filter(|least| length < *least) {
        let message =
            if length == 0 { "must not be empty".to_owned() } else { format!("must have at least {least} characters") };
        found.push((Violation::new("invalid-value", path.clone(), message), false));
    }
    if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        let violation =
            Violation::new("invalid-value", path.clone(), format!("`{text}` does not have the form it needs"));
        found.push((violation.help(format!("it must match {}", pattern.as_str())), false));
    }
    let bad_format = match node.format.as_deref() {
        Some("ipv4") => text.parse::<Ipv4Addr>().is_err(),
        Some("ipv6") => text.parse::<Ipv6Addr>().is_err(),
        Some("byte") => BASE64_STANDARD.decode(text).is_err(),
        _ => false,
    };
    if bad_format {
        let format = node.format.as_deref().unwrap_or_default();
        found.push((Violation::new("wrong-type", path.clone(), format!("`{text}` is not of format {format}")), true));
    }
}

fn of_number(node: &Node, number: f64, path: &FieldPath, found: &mut Vec<Found>) {
    if node.format.as_deref() == Some("int32") && !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
        let message = format!("{number} is more than 32 bits hold");
        found.push((Violation::new("out-of-range", path.clone(), message), false));
    }
    if let Some(least) = node.minimum.filter(|least| number < *least) {
        found.push((Violation::new("out-of-range", path.clone(), format!("{number} is less than {least}")), false));
    }
    if let Some(most) = node.maximum.filter(|most| number > *most) {
        found.push((Violation::new("out-of-range", path.clone(), format!("{number} is more than {most}")), false));
    }
}

fn of_array(node: &Node, items: &[Value], path: &FieldPath, found: &mut Vec<Found>) {
    let length = items.len() as u64;
    if let Some(most) = node.max_items.filter(|most| length > *most) {
        found.push((
            Violation::new("too-many", path.clone(), format!("{length} entries, and {most} are the most")),
            true,
        ));
    }
    if let Some(least) = node.min_items.filter(|least| length < *least) {
        found.push((Violation::new("invalid-value", path.clone(), format!("needs at least {least} entries")), false));
    }
    if node.is_set || !node.list_keys.is_empty() {
        let key = |item: &Value| -> Vec<Value> {
            if node.is_set { vec![item.clone()] } else { node.list_keys.iter().map(|key| item[key].clone()).collect() }
        };
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|earlier| key(earlier) == key(item)) {
                let by = if node.is_set {
                    String::new()
                } else {
                    format!(" with the same {}", node.list_keys.join(" and "))
                };
                let message = format!("another entry{by} stands before this one");
                found.push((Violation::new("duplicate-entry", path.index(index), message), false));
            }
        }
    }
    if let Some(node) = &node.items {
        for (index, item) in items.iter().enumerate() {
            walk(node, item, &path.index(index), found);
        }
    }
}

fn of_object(node: &Node, fields: &serde_json::Map<String, Value>, path: &FieldPath, found: &mut Vec<Found>) {
    for name in node.required.iter().filter(|name| !fields.contains_key(*name)) {
        found.push((missing(path, name), true));
    }
    let length = fields.len() as u64;
    if let Some(most) = node.max_properties.filter(|most| length > *most) {
        found.push((
            Violation::new("too-many", path.clone(), format!("{length} entries, and {most} are the most")),
            true,
        ));
    }
    if let Some(least) = node.min_properties.filter(|least| length < *least) {
        found.push((Violation::new("invalid-value", path.clone(), format!("needs at least {least} entries")), false));
    }
    for (name, field) in fields {
        if let Some(node) = node.properties.get(name).or(node.additional.as_deref()) {
            walk(node, field, &path.field(name), found);
        }
    }
}

/// Schemas that are combined say nothing about types, only about values.
fn combined(node: &Node, value: &Value, path: &FieldPath, found: &mut Vec<Found>) {
    let fits = |branch: &Node| {
        let mut inner = Vec::new();
        walk(branch, value, path, &mut inner);
        inner.is_empty()
    };
    for branch in &node.all_of {
        walk(branch, value, path, found);
    }
    let none_of = |branches: &[Node]| !branches.is_empty() && !branches.iter().any(fits);
    if none_of(&node.any_of) {
        found
            .push((Violation::new("invalid-value", path.clone(), "has none of the forms that are allowed here"), true));
    }
    if !node.one_of.is_empty() && node.one_of.iter().filter(|branch| fits(branch)).count() != 1 {
        found.push((Violation::new("invalid-value", path.clone(), "must have exactly one of the allowed forms"), true));
    }
    if node.not.as_ref().is_some_and(|branch| fits(branch)) {
        found.push((Violation::new("invalid-value", path.clone(), "has a form that is not allowed here"), false));
    }
}
