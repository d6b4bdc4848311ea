//! Statuses: what is held of them, what is wanted, and who writes them.
//!
//! ```text
//! watches --status as it is--> Board <--what changed-- translation
//!                                \--> writer (leads? says it? paced) --server-side apply--> /status
//! ```

mod board;
mod pace;
mod shape;
mod writer;

pub use board::{Board, GATEWAY_NAME};
pub(super) use pace::Pace;
pub use writer::{Wanted, WriterOptions, write};
