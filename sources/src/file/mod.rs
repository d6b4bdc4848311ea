//! Directories, files and standard input.

mod layout;
mod load;

pub use load::{Inventory, load};
