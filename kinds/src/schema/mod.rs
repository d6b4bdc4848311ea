//! What an API server would say of an object, with no API server: structure, bounds, defaults and rules of the official
//! schemas, which travel with the binary.
//!
//! The order is the server's: unknown fields first, and then nothing else; defaults; structure; rules, unless the structure
//! is broken in a way that could break them.

mod defaults;
mod expression;
mod meanings;
mod messages;
mod node;
mod relaxations;
mod store;
mod structure;

use serde_json::Value;

pub(crate) use self::store::EMBEDDED;
use crate::{FieldPath, Kind};

/// One reason to refuse an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: &'static str,
    pub path: FieldPath,
    pub message: String,
    pub help: Option<String>,
    /// A form that the official schema refuses and that is read all the same.
    pub tolerated: bool,
}

impl Violation {
    fn new(code: &'static str, path: FieldPath, message: impl Into<String>) -> Self {
        Self { code, path, message: message.into(), help: None, tolerated: false }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Judges an object and fills in its defaults. Kinds without a schema of their own pass.
#[must_use]
pub fn admit(kind: Kind, group: &str, version: &str, object: &mut Value) -> Vec<Violation> {
    let Some(schema) = store::find(kind, group, version) else { return Vec::new() };
    // What a server wrote about an object is not the author's to get right.
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let mut violations = structure::unknown_fields(&schema.root, object);
    relaxations::tolerate(kind, &mut violations);
    if violations.iter().any(|violation| !violation.tolerated) {
        return violations;
    }
    let tolerated: Vec<FieldPath> = violations.iter().map(|violation| violation.path.clone()).collect();
    defaults::apply(&schema.root, object);
    let found = structure::check(&schema.root, object);
    let breaks_rules = found.iter().any(|(_, breaks_rules)| *breaks_rules);
    violations.extend(found.into_iter().map(|(violation, _)| violation));
    if !breaks_rules && schema.root.has_rules {
        violations.extend(relaxations::tolerate_rules(kind, schema.broken_rules(object), &tolerated));
    }
    violations
}

/// Fills in the defaults of an object that is admitted already; returns the fields that are not in the schema.
#[must_use]
pub fn complete(kind: Kind, group: &str, version: &str, object: &mut Value) -> Vec<Violation> {
    let Some(schema) = store::find(kind, group, version) else { return Vec::new() };
    let mut unknown = structure::unknown_fields(&schema.root, object);
    relaxations::tolerate(kind, &mut unknown);
    defaults::apply(&schema.root, object);
    unknown
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod verdicts;
