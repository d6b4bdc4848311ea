//! Findings as a SARIF 2.1.0 log, which code review tools show beside the lines of a change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{Diagnostic, Place, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[must_use]
pub fn to_sarif(diagnostics: &[Diagnostic]) -> Value {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let rules: Vec<Value> = codes.into_iter().map(|code| json!({"id": code})).collect();
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "chancery", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut at = location(&diagnostic.place);
    let object = diagnostic.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let name = [object.as_str(), diagnostic.place.path.as_str()].join(" ");
    if !name.trim().is_empty() {
        at["logicalLocations"] = json!([{"fullyQualifiedName": name.trim()}]);
    }
    let text = match &diagnostic.help {
        Some(help) => format!("{}\n{help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .enumerate()
        .map(|(id, (place, words))| {
            let mut at = location(place);
            at["id"] = json!(id);
            at["message"] = json!({"text": words});
            at
        })
        .collect();
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": level,
        "message": {"text": text},
        "locations": [at],
    });
    if !related.is_empty() {
        result["relatedLocations"] = json!(related);
    }
    result
}

fn location(place: &Place) -> Value {
    let mut at = json!({"artifactLocation": {"uri": uri(&place.origin.file)}});
    if let Some(position) = place.origin.locate(&place.path) {
        at["region"] = json!({"startLine": position.line, "startColumn": position.column});
    }
    json!({"physicalLocation": at})
}

/// A path as a relative or `file:` reference, with what is not allowed there percent-encoded.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("a dir/route.yaml"), "a%20dir/route.yaml");
        assert_eq!(uri("/srv/ä.yaml"), "file:///srv/%C3%A4.yaml");
    }
}
