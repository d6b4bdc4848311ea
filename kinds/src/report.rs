//! Diagnostics for people, printed the way rustc prints its own.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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

/// The bytes from a position to the end of what stands there on the line.
fn span(text: &str, position: Position) -> std::ops::Range<usize> {
    let line_start: usize = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let column: usize = line.chars().take(position.column - 1).map(char::len_utf8).sum();
    let rest = line.get(column..).unwrap_or_default().split(" #").next().unwrap_or_default().trim_end();
    let start = line_start + column;
    start..start + rest.len().max(usize::from(start < text.len()))
}
