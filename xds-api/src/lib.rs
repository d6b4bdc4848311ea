//! Envoy's API as Rust types, pinned to Envoy 1.40.
//!
//! This is generated at build time from the descriptor set that the Envoy binary carries, plus the APIs declared in
//! `proto/`. Maps are ordered, so one value has one encoding and a version may be a hash of it.
//!
//! - [`Resource`]: a named message, encoded once.
//! - [`to_yaml`], [`list_to_yaml`], [`to_value`]: what people read; [`from_yaml`], [`from_value`]: the way back.
//! - [`references()`]: the names of other resources that one needs.
//! - [`validate()`]: the field rules, checked as Envoy checks them.

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

mod doc;
mod error;
mod json_out;
mod parse;
mod path;
mod pool;
mod references;
mod resource;
mod text;
mod validate;
mod wire;
mod wkt;
mod yaml_out;

pub use error::{Error, Misfit, Position};
pub use parse::{from_value, from_yaml, message_from_value, message_from_yaml};
pub use pool::{message, pool};
pub use references::references;
pub use resource::{Resource, ResourceType, any};
pub use text::{list_to_yaml, message_to_value, message_to_yaml, to_json, to_value, to_yaml};
pub use validate::{FieldError, validate, validate_message};
