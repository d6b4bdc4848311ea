//! Findings written down: for people, for programs, for code review.
//!
//! Whatever the form, no line of a Secret is ever part of it.

mod json;
mod sarif;
mod text;

pub use json::to_json;
pub use sarif::to_sarif;
pub use text::to_text;
