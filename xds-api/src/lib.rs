//! Envoy's API as Rust types, pinned to Envoy 1.40.
//!
//! [`api`] is generated at build time from the descriptor set that the Envoy binary carries, plus the APIs declared in
//! `proto/`. Maps are ordered, so one value has one encoding and a version may be a hash of it.

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    rustdoc::all
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

pub use generated::{cel, envoy, google, opentelemetry, ratelimit, udpa, xds};

/// The descriptors of every message, Envoy's own and the declared ones: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

mod resource;

pub use resource::{Resource, ResourceType, any};
