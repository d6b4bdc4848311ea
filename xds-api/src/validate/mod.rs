//! The field rules that Envoy's API carries, checked on encoded messages: what Envoy would reject is found before it
//! is sent.
//!
//! Every `Any` is looked into, as Envoy does when it builds the extension; one that holds a type Envoy does not have
//! is refused. A map's `no_sparse` holds by construction: the wire form has no entry without a value. Two rules of
//! timestamps that compare with the present moment are not checked; Envoy's API has none.

mod plan;
mod rules;
mod text;
mod walk;

use std::fmt;

use self::walk::Walk;
use crate::Resource;
use crate::path::Path;

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldError {
    /// As `filter_chains[0].filters[0].typed_config.stat_prefix`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Every rule that the resource breaks, in the order of its bytes.
#[must_use]
pub fn validate(resource: &Resource) -> Vec<FieldError> {
    validate_message(resource.kind.message_name(), &resource.body)
}

/// The same for a message by its full name.
#[must_use]
pub fn validate_message(name: &str, body: &[u8]) -> Vec<FieldError> {
    let mut walk = Walk::new();
    walk.named(name, body, &Path::ROOT);
    walk.errors
}
