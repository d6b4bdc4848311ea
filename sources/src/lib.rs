//! Where resources come from. A source knows nothing of xDS: it says which objects there are, and what is wrong with
//! those that are not.

pub mod file;
