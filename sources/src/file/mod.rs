//! Directories, files and standard input.
//!
//! ```text
//! events -> (settle) -> scan: list, read what changed, parse it -> merge all documents -> batch of changes
//! ```
//!
//! Events say only *that* something happened; what is there is always found by looking at everything, so that renames,
//! symlink swaps and checkouts need no rules of their own.

mod layout;
mod scan;
mod watch;

pub use scan::Scanner;
pub use watch::watch;
