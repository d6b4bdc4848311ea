//! Diagnostics for people, printed the way rustc prints its own.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::{Diagnostic, Place, Position, Severity};

/// The findings as text, one after another.
#[must_use]
pub fn to_text<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&one(diagnostic, &renderer));
        text.push_str("\n\n");
    }
    text
}

fn one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    let label = match &diagnostic.object {
        Some(id) if diagnostic.place.path.is_root() => id.to_string(),
        Some(id) => format!("{} of {id}", diagnostic.place.path),
        None => diagnostic.place.path.to_string(),
    };
    let snippets: Vec<(&Place, String, AnnotationKind)> =
        std::iter::once((&diagnostic.place, label, AnnotationKind::Primary))
            .chain(diagnostic.related.iter().map(|(place, words)| (place, words.clone(), AnnotationKind::Context)))
            .collect();
    for (place, label, kind) in snippets {
        let file = place.origin.file.as_ref();
        match place.origin.locate(&place.path) {
            Some(position) if holds_secret(place.origin.text()) => {
                group = group
                    .element(Origin::path(file).line(position.line).char_column(position.column))
                    .element(Level::NOTE.message(label));
            }
            Some(position) => {
                let text = place.origin.file_text();
                let span = span(text, position);
                let snippet = Snippet::source(text).path(file).annotation(kind.span(span).label(label));
                group = group.element(snippet);
            }
            None => group = group.element(Level::NOTE.message(format!("{file}: {label}"))),
        }
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Whether a document is, or may be, a Secret: its lines are not shown. It is judged by its text, since the document may
/// be one that cannot be parsed.
fn holds_secret(document: &str) -> bool {
    let mut kind = false;
    let mut data = false;
    for line in document.lines() {
        let plain: String = line.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
        kind |= plain.contains("kind:Secret");
        data |= plain.contains("data:") || plain.contains("stringData:");
    }
    kind && data
}

/// The bytes from a position to the end of what stands there on the line.
fn span(text: &str, position: Position) -> std::ops::Range<usize> {
    let line_start: usize = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let column: usize = line.chars().take(position.column - 1).map(char::len_utf8).sum();
    let rest = line.get(column..).unwrap_or_default().split(" #").next().unwrap_or_default().trim_end();
    let start = line_start + column;
    start..start + rest.len().max(usize::from(start < text.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{FieldPath, document};

    fn printed(text: &str, path: &str) -> String {
        let origins = document::split(&Arc::from("f.yaml"), &Arc::from(text));
        let place = Place { origin: origins[0].clone(), path: FieldPath::from(path) };
        to_text(&[Diagnostic::error("code", place, "words")], false)
    }

    #[test]
    fn a_secrets_lines_are_not_shown() {
        for text in [
            "kind: Secret\nstringData:\n  key: hunter2\n",
            "{\"kind\": \"Secret\", \"data\": {\"key\": \"hunter2\"}}\n",
            "kind: List\nitems:\n- kind: 'Secret'\n  stringData: {key: hunter2}\n",
        ] {
            for path in ["stringData.key", "data.key", "items[0].stringData.key", "kind"] {
                let printed = printed(text, path);
                assert!(!printed.contains("hunter2"), "{printed}");
                assert!(printed.contains("f.yaml:"), "{printed}");
            }
        }
        let gateway = printed("kind: Gateway\nspec:\n  certificateRefs: [{kind: Secret, name: c}]\n", "spec");
        assert!(gateway.contains("2 | spec:"), "{gateway}");
    }

    #[test]
    fn columns_count_characters() {
        let printed = printed("naïve: {größe: 1}\n", "naïve.größe");
        assert!(printed.contains("f.yaml:1:9"), "{printed}");
    }
}
