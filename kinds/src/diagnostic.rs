//! The one diagnostic type: what is wrong, where the user wrote it, and what to do.

use std::fmt;

use crate::{ObjectId, Origin};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A field of an object, such as `spec.rules[0].backendRefs[1].port`; empty for the object as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(String);

impl FieldPath {
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn spec() -> Self {
        Self("spec".to_owned())
    }

    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = String::with_capacity(self.0.len() + name.len() + 1);
        path.push_str(&self.0);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        Self(path)
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        // One is made for every reference of every object: too often for the formatter.
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(index);
        let mut path = String::with_capacity(self.0.len() + digits.len() + 2);
        path.push_str(&self.0);
        path.push('[');
        path.push_str(digits);
        path.push(']');
        Self(path)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for FieldPath {
    fn from(path: String) -> Self {
        Self(path)
    }
}

impl From<&str> for FieldPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A field of a document; its line and column are looked up when it is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub origin: Origin,
    pub path: FieldPath,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// A stable name for this sort of finding, such as `backend-not-found`.
    pub code: &'static str,
    pub severity: Severity,
    pub object: Option<ObjectId>,
    pub place: Place,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that explain the finding, each with a few words.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    #[must_use]
    pub fn new(severity: Severity, code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { code, severity, object: None, place, message: message.into(), help: None, related: Vec::new() }
    }

    #[must_use]
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, place, message)
    }

    #[must_use]
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, place, message)
    }

    #[must_use]
    pub fn info(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, place, message)
    }

    #[must_use]
    pub fn about(mut self, object: &ObjectId) -> Self {
        self.object = Some(object.clone());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn related(mut self, place: Place, words: impl Into<String>) -> Self {
        self.related.push((place, words.into()));
        self
    }
}
