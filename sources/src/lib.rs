//! Where resources come from. A source knows nothing of xDS: it says which objects there are, and what is wrong with
//! those that are not.

mod error;
pub mod file;
pub mod kubernetes;

pub use error::Error;

use std::sync::Arc;
use std::time::SystemTime;

use kinds::{Diagnostic, Object, ObjectId};

/// A change of what a source holds.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceChange {
    Put(Arc<Object>),
    Remove(ObjectId),
}

/// A consistent step from one state of a source to the next.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub changes: Vec<SourceChange>,
    /// Every finding that stands after this step.
    pub diagnostics: Vec<Diagnostic>,
    /// When the first sign of it was seen, if the source knows.
    pub noticed: Option<SystemTime>,
}
