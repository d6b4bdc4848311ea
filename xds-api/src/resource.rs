//! One named xDS resource, encoded once: what the translator makes and what the server ships.

use std::sync::Arc;

use bytes::Bytes;
use prost::{Message, Name};

use crate::Error;

/// The kinds of resource a stock client subscribes to, in the order in which they are made known to it: whatever a
/// resource refers to comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Cluster,
    Endpoints,
    Secret,
    ExtensionConfig,
    Listener,
    RouteConfiguration,
    ScopedRoute,
    VirtualHost,
    Runtime,
    RateLimitConfig,
}

impl ResourceType {
    pub const ALL: [Self; 10] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Secret,
        Self::ExtensionConfig,
        Self::Listener,
        Self::RouteConfiguration,
        Self::ScopedRoute,
        Self::VirtualHost,
        Self::Runtime,
        Self::RateLimitConfig,
    ];

    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::ExtensionConfig => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::ScopedRoute => "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            Self::RateLimitConfig => "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig",
        }
    }

    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The full name of the message, as the descriptors know it.
    #[must_use]
    pub fn message_name(self) -> &'static str {
        self.type_url().trim_start_matches("type.googleapis.com/")
    }
}

/// An encoded resource. The bytes are shared by everyone who holds or sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub kind: ResourceType,
    pub name: Arc<str>,
    /// The encoded message itself, without an `Any` around it.
    pub body: Bytes,
}

impl Resource {
    #[must_use]
    pub fn encode(kind: ResourceType, name: &str, message: &impl Message) -> Self {
        Self { kind, name: Arc::from(name), body: Bytes::from(message.encode_to_vec()) }
    }

    /// A resource from its bytes, named as its message says: in every type the name is the first field.
    pub fn from_body(kind: ResourceType, body: Bytes) -> Result<Self, Error> {
        let first =
            FirstField::decode(body.clone()).map_err(|error| Error::undecodable(kind.message_name(), &error))?;
        Ok(Self { kind, name: Arc::from(first.name), body })
    }
}

#[derive(Clone, PartialEq, Message)]
struct FirstField {
    #[prost(string, tag = "1")]
    name: String,
}

/// A message wrapped for a `typed_config`-like field.
#[must_use]
pub fn any<M: Message + Name>(message: &M) -> crate::google::protobuf::Any {
    crate::google::protobuf::Any { type_url: M::type_url(), value: Bytes::from(message.encode_to_vec()) }
}
