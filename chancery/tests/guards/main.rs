//! Who may come in, on a stock Envoy: edits under traffic, every way a request can take, and many keys.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod authorizer;
mod edits;
mod keys;
mod traffic;
mod ways;
mod world;
