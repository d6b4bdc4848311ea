//! What can go wrong between bytes, documents and text.

use std::fmt;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no message {0:?} in Envoy's API")]
    UnknownMessage(String),
    #[error("not an encoded {message}: {reason}")]
    Undecodable { message: String, reason: String },
    #[error("malformed value: {0}")]
    Shape(&'static str),
    #[error("{0}")]
    Yaml(String),
    #[error(transparent)]
    Field(#[from] Misfit),
}

impl Error {
    pub(crate) fn undecodable(message: &str, reason: &dyn fmt::Display) -> Self {
        Self::Undecodable { message: message.to_owned(), reason: reason.to_string() }
    }
}

/// A place in a text, both counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// A document that does not fit its message: what, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// As `filter_chains[0].filters[1].typed_config.stat_prefix`; empty for the document itself.
    pub path: String,
    pub reason: String,
    /// Known when the document came from text.
    pub at: Option<Position>,
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        match self.at {
            Some(Position { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}
