//! Findings as one JSON array.

use serde_json::{Value, json};

use crate::{Diagnostic, Place};

#[must_use]
pub fn to_json<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Value {
    diagnostics.into_iter().map(one).collect()
}

fn one(diagnostic: &Diagnostic) -> Value {
    let object = diagnostic
        .object
        .as_ref()
        .map(|id| json!({"kind": id.kind.to_string(), "namespace": id.namespace.as_str(), "name": id.name.as_str()}));
    let related: Value = diagnostic
        .related
        .iter()
        .map(|(related, words)| {
            let mut entry = place(related);
            entry["message"] = json!(words);
            entry
        })
        .collect();
    let mut entry = place(&diagnostic.place);
    entry["code"] = json!(diagnostic.code);
    entry["severity"] = json!(diagnostic.severity.name());
    entry["message"] = json!(diagnostic.message);
    entry["help"] = json!(diagnostic.help);
    entry["object"] = json!(object);
    entry["related"] = related;
    entry
}

/// Line and column are null for objects that no file holds.
fn place(place: &Place) -> Value {
    let position = place.origin.locate(&place.path);
    json!({
        "file": place.origin.file.as_ref(),
        "line": position.map(|position| position.line),
        "column": position.map(|position| position.column),
        "path": place.path.as_str(),
    })
}
