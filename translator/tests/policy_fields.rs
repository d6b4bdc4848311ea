//! Every field of Envoy Gateway's policies and of EnvoyProxy, held against the official schemas: it is read by the types
//! or named in the table of what is not rendered, and the reference for users says the same.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod schemas;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kinds::Kind;
use kinds::envoy_gateway::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, EnvoyProxySpec, SecurityPolicySpec};
use schemas::{fields, root, sample, schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use translator::coverage::{KINDS, TABLE, Treatment, treatment};

/// Some words have no list in the schema: a rule, or a description, says which there are.
fn with_words(mut value: Value, kind: Kind) -> Value {
    fn put(value: &mut Value, path: &[&str], word: &str) {
        let Some((first, rest)) = path.split_first() else {
            *value = json!(word);
            return;
        };
        let value = if value.is_array() { &mut value[0] } else { value };
        if value.get(*first).is_some() {
            put(&mut value[*first], rest, word);
        }
    }
    let words: &[(&[&str], &str)] = &[
        (&["mergeType"], "StrategicMerge"),
        (&["healthCheck", "active", "type"], "HTTP"),
        (&["http2", "onInvalidMessage"], "TerminateStream"),
    ];
    for (path, word) in words {
        put(&mut value, path, word);
        for base in [["extAuth", "grpc"], ["extAuth", "http"], ["oidc", "provider"]] {
            let path: Vec<&str> = base.iter().copied().chain(["backendSettings"]).chain(path.iter().copied()).collect();
            put(&mut value, &path, word);
        }
        let remote: Vec<&str> =
            ["jwt", "providers", "remoteJWKS", "backendSettings"].into_iter().chain(path.iter().copied()).collect();
        put(&mut value, &remote, word);
        for base in [
            vec!["telemetry", "tracing", "provider"],
            vec!["telemetry", "accessLog", "settings", "sinks", "als"],
            vec!["telemetry", "accessLog", "settings", "sinks", "openTelemetry"],
            vec!["telemetry", "metrics", "sinks", "openTelemetry"],
        ] {
            let path: Vec<&str> = base.into_iter().chain(["backendSettings"]).chain(path.iter().copied()).collect();
            put(&mut value, &path, word);
        }
    }
    let _ = kind;
    value
}

fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let spec: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(spec).unwrap()
}

fn round_trip(kind: Kind, value: &Value) -> Value {
    match kind {
        Kind::SecurityPolicy => read::<SecurityPolicySpec>(value),
        Kind::BackendTrafficPolicy => read::<BackendTrafficPolicySpec>(value),
        Kind::ClientTrafficPolicy => read::<ClientTrafficPolicySpec>(value),
        Kind::EnvoyProxy => read::<EnvoyProxySpec>(value),
        other => panic!("{other} is not one of them"),
    }
}

fn has(value: &Value, path: &str) -> bool {
    let mut at = value;
    for step in path.split('.') {
        let inner = if at.is_array() { &at[0] } else { at };
        match inner.get(step) {
            Some(found) if !found.is_null() => at = found,
            _ => return false,
        }
    }
    true
}

#[test]
fn every_field_is_read_or_in_the_table() {
    let mut unaccounted = Vec::new();
    for kind in KINDS {
        let schema = schema(kind);
        let mut all = BTreeSet::new();
        fields(&schema, "", &mut all);
        let sample = with_words(sample(&schema), kind);
        let kept = round_trip(kind, &sample);
        for path in all {
            if !has(&kept, &path) && treatment(kind, &path) == Treatment::Rendered {
                unaccounted.push(format!("{kind}: {path}"));
            }
        }
    }
    assert!(unaccounted.is_empty(), "neither read nor in the table:\n{}", unaccounted.join("\n"));
}

#[test]
fn the_table_names_fields_that_there_are() {
    let mut unknown = Vec::new();
    for kind in KINDS {
        let mut all = BTreeSet::new();
        fields(&schema(kind), "", &mut all);
        for (_, path, _) in TABLE.iter().filter(|(of, _, _)| *of == kind) {
            if !all.contains(*path) {
                unknown.push(format!("{kind}: {path}"));
            }
        }
    }
    assert!(unknown.is_empty(), "no such fields:\n{}", unknown.join("\n"));
}

/// The reference for users, made from the table and the schemas.
fn reference() -> String {
    let mut text = String::from(
        "# Policies: what becomes of each field\n\nMade from the table in the code and the official schemas; a test holds \
         the two together. *Rendered* fields reach Envoy.\nA *refused* field is reported by its name, with file and line, \
         and in the status of the object; the routes of a\nSecurityPolicy or BackendTrafficPolicy with such a field answer \
         500. Fields *without meaning here* change nothing.\n",
    );
    for kind in KINDS {
        let mut all = BTreeSet::new();
        fields(&schema(kind), "", &mut all);
        let rendered = all.iter().filter(|path| treatment(kind, path) == Treatment::Rendered).count();
        let _ = write!(text, "\n## {kind}\n\n{rendered} of {} fields are rendered.\n", all.len());
        let mut rows = String::new();
        for (_, path, treatment) in TABLE.iter().filter(|(of, _, _)| *of == kind) {
            let (what, why) = match treatment {
                Treatment::Rendered => continue,
                Treatment::Refused(why) => ("refused", why),
                Treatment::NoMeaning(why) => ("no meaning here", why),
            };
            let _ = writeln!(rows, "| `{path}` | {what} | {why} |");
        }
        let _ = write!(text, "\n| all others | rendered | |\n|---|---|---|\n{rows}");
        let _ = write!(text, "\n<details><summary>Rendered fields</summary>\n\n");
        for path in all.iter().filter(|path| treatment(kind, path) == Treatment::Rendered) {
            let _ = writeln!(text, "- `{path}`");
        }
        text.push_str("\n</details>\n");
    }
    text
}

#[test]
fn the_reference_says_what_the_code_does() {
    let path = root().join("docs/reference/policies.md");
    let wanted = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{} is out of date: UPDATE_GOLDEN=1 writes it anew", path.display());
}
