//! Findings in one order, whatever the order in which they were made.

use kinds::{Diagnostic, Object, Place};

/// The place of a field of an object.
pub(crate) fn place(object: &Object, path: &str) -> Place {
    Place { origin: object.origin.clone(), path: path.into() }
}

/// By file, line, field, code and object.
pub(crate) fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.place.origin.file.clone(), d.place.origin.start(), d.place.path.clone(), d.code);
        key(a).cmp(&key(b)).then_with(|| (&a.object, &a.message).cmp(&(&b.object, &b.message)))
    });
    diagnostics.dedup();
}
