//! The control plane over a real API server, with stock Envoys. Skipped, and said so, where `make kube-api` was not run.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails where it panics, and says what it counted")]

mod away;
mod kinds_come_and_go;
mod lead;
mod rights;
mod same_as_files;
mod serve;
mod settle;
mod unreadable;
mod world;
