//! Where a document was written, kept so that a problem found three stages later is still shown where the user wrote it.
//!
//! Positions are not stored beside every field: the text of the file is shared, and a document is parsed a second time,
//! with positions, when a diagnostic about it is printed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::FieldPath;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A document in a file, or an object that came from elsewhere and has no text.
#[derive(Clone)]
pub struct Origin {
    /// The file as the user named it, or the name of the API server.
    pub file: Arc<str>,
    text: Arc<str>,
    bytes: Range<usize>,
    first_line: usize,
    /// Where in the document the object stands: not empty for items of a `List`.
    prefix: FieldPath,
    /// A position within the document that is known by itself, where the document cannot be parsed.
    exact: Option<Position>,
}

/// Equal are two that stand at the same place: the texts around them, perhaps of megabytes, are not compared.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let place = |origin: &Self| (origin.first_line, origin.bytes.clone(), origin.exact);
        self.file == other.file && place(self) == place(other) && self.prefix == other.prefix
    }
}

impl fmt::Debug for Origin {
    /// The text may hold secrets: it is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.first_line)
    }
}

impl Origin {
    #[must_use]
    pub fn in_file(file: Arc<str>, text: Arc<str>, bytes: Range<usize>, first_line: usize) -> Self {
        Self { file, text, bytes, first_line, prefix: FieldPath::root(), exact: None }
    }

    /// For objects that no file holds.
    #[must_use]
    pub fn without_text(file: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            text: Arc::from(""),
            bytes: 0..0,
            first_line: 0,
            prefix: FieldPath::root(),
            exact: None,
        }
    }

    #[must_use]
    pub(crate) fn at(&self, prefix: FieldPath) -> Self {
        Self { prefix, ..self.clone() }
    }

    /// The same document, for a finding at a line and column of the file.
    #[must_use]
    pub(crate) fn at_position(&self, position: Position) -> Self {
        Self { exact: Some(position), ..self.clone() }
    }

    /// The same place within a document that has moved.
    #[must_use]
    pub fn moved_to(&self, document: &Self) -> Self {
        Self { prefix: self.prefix.clone(), exact: None, ..document.clone() }
    }

    /// The text of the document.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get(self.bytes.clone()).unwrap_or_default()
    }

    /// The whole file, for showing the lines around a finding.
    #[must_use]
    pub fn file_text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn has_text(&self) -> bool {
        self.first_line > 0
    }

    #[must_use]
    pub fn start(&self) -> Position {
        Position { line: self.first_line, column: 1 }
    }

    /// The position of a field, or of the nearest field above it that the document has.
    #[must_use]
    pub fn locate(&self, path: &FieldPath) -> Option<Position> {
        if !self.has_text() {
            return None;
        }
        if self.exact.is_some() {
            return self.exact;
        }
        let Ok(root) = serde_saphyr::from_str::<Spanned<Node>>(self.text()) else { return Some(self.start()) };
        let mut at = root.referenced;
        let mut node = &root.value;
        for step in steps(self.prefix.as_str()).chain(steps(path.as_str())) {
            let next = match (node, step) {
                (Node::Map(entries), Step::Field(name)) => {
                    entries.iter().find(|(key, _)| key.value == name).map(|(key, value)| (key.referenced, &value.value))
                }
                (Node::List(items), Step::Index(index)) => items.get(index).map(|item| (item.referenced, &item.value)),
                _ => None,
            };
            let Some((position, inner)) = next else { break };
            at = position;
            node = inner;
        }
        let line = usize::try_from(at.line()).unwrap_or(1);
        let column = usize::try_from(at.column()).unwrap_or(1);
        Some(Position { line: self.first_line + line.saturating_sub(1), column })
    }
}

enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// `spec.rules[0].name` and, for keys that are not plain, `metadata.labels[a.b/c]`.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            return None;
        }
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']')?;
            let (step, after) = (&inner[..end], &inner[end + 1..]);
            rest = after;
            return Some(step.parse().map_or(Step::Field(step), Step::Index));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (step, after) = rest.split_at(end);
        rest = after;
        Some(Step::Field(step))
    })
}

enum Node {
    Scalar,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }
            fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}
