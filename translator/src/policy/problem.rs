//! What is wrong with a policy, and in which field.

use kinds::FieldPath;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub path: FieldPath,
    pub message: String,
    /// Something that stock Envoy cannot do, as against something that is wrong.
    pub unsupported: bool,
}

impl Problem {
    pub(crate) fn wrong(path: impl Into<FieldPath>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), unsupported: false }
    }

    pub(crate) fn unsupported(path: impl Into<FieldPath>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), unsupported: true }
    }
}
