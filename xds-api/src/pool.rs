//! The descriptors at run time: every message by its full name, with the options that carry the field rules.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::{DESCRIPTORS, Error};

/// Every message, enum and extension, Envoy's own and the declared ones. Decoded on first use.
///
/// # Panics
///
/// Never: the descriptors are embedded at build time, and the tests of this crate decode the same bytes.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(DESCRIPTORS).unwrap_or_else(|error| panic!("embedded descriptors: {error}"))
    });
    &POOL
}

/// A message by its full name, as `envoy.config.cluster.v3.Cluster`.
pub fn message(name: &str) -> Result<MessageDescriptor, Error> {
    pool().get_message_by_name(name).ok_or_else(|| Error::UnknownMessage(name.to_owned()))
}

/// The message that a type URL names: what stands behind its last slash.
pub(crate) fn message_of_url(url: &str) -> Result<MessageDescriptor, Error> {
    message(url.rsplit('/').next().unwrap_or_default())
}
