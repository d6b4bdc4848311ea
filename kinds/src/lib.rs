//! What users write: typed resources, their schemas, and where each field stands.
//!
//! ```text
//! text --document::split--> documents --parse_document--> admitted objects + diagnostics
//! ```
//!
//! A document goes through three steps: YAML to a value, the schema's verdict (with defaults applied), and the typed
//! content. Each object keeps its [`Origin`], so that a finding of any later stage is shown with file, line and column.

pub mod ai;
pub mod core;
pub mod definitions;
mod diagnostic;
pub mod document;
pub mod envoy_gateway;
pub mod gateway;
pub mod inference;
pub mod kgateway;
mod kind;
mod object;
mod origin;
mod parse;
pub mod report;
pub mod schema;
mod shared;
mod unread;
mod unreadable;

pub use diagnostic::{Diagnostic, FieldPath, Place, Severity};
pub use kind::{Kind, KindInfo};
pub use object::{Meta, Object, ObjectId, ObjectName, Spec, Typed};
pub use origin::{Origin, Position};
pub use parse::{DEFAULT_NAMESPACE, Parsed, parse_admitted, parse_document, parse_text, parse_value};
pub use shared::Shared;
pub use unread::UNREAD;
pub use unreadable::{Reading, Refusal, Unreadable};
