//! How things are named on the wire.
//!
//! Names come from object names, never from positions, so that inserting a rule neither renames a cluster nor resets a
//! counter.

use std::fmt;

use kinds::{Kind, ObjectId};
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

/// Exact hostnames of a listener are spread over this many tables: about ten hosts share one at 10,000 hosts.
const SHARDS: u64 = 1024;

/// The cluster that does not exist. Envoy answers 500 for it: the share of a backend that cannot be resolved.
pub const UNRESOLVED_CLUSTER: &str = "chancery/unresolved";

/// A listener of a Gateway, which the Gateway itself or a ListenerSet declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerId {
    pub gateway: ObjectId,
    pub owner: ObjectId,
    pub section: SmolStr,
}

/// What holds one set of route tables: all plain HTTP listeners of a port together, or one HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HcmId {
    pub gateway: ObjectId,
    pub port: u16,
    /// The HTTPS listener; none for the plain HTTP listeners of the port.
    pub listener: Option<ListenerId>,
}

impl HcmId {
    /// What tells the scopes of this one from those of the Gateway's others.
    #[must_use]
    pub(crate) fn scope_prefix(&self) -> String {
        match &self.listener {
            None => self.port.to_string(),
            Some(listener) if listener.owner == self.gateway => format!("{}/{}", self.port, listener.section),
            Some(listener) => {
                format!("{}/{}/{}/{}", self.port, listener.owner.namespace, listener.owner.name, listener.section)
            }
        }
    }

    /// The key by which a request finds the table of its host.
    #[must_use]
    pub(crate) fn scope_key(&self, host: &str) -> String {
        format!("{}|{host}", self.scope_prefix())
    }

    #[must_use]
    pub(crate) fn table_name(&self, shard: Shard) -> String {
        format!("{}/{}/{}/{shard}", self.gateway.namespace, self.gateway.name, self.scope_prefix())
    }
}

/// Which of a listener's route tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shard {
    /// Wildcard hostnames, and routes without any.
    Default,
    /// Exact hostnames, spread by hash.
    Hosts(u16),
}

impl Shard {
    #[must_use]
    pub(crate) fn of(hostname: &str) -> Self {
        if hostname.starts_with('*') {
            return Self::Default;
        }
        Self::Hosts(u16::try_from(xxh3_64(hostname.as_bytes()) % SHARDS).unwrap_or_default())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Hosts(number) => write!(f, "hosts-{number:03x}"),
        }
    }
}

/// A cluster: a backend, and everything that makes it a cluster of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterId {
    pub backend: ObjectId,
    /// None where the backend itself says its ports.
    pub port: Option<u16>,
    /// The route speaks HTTP/2 to the backend whatever its port says, as GRPCRoutes do.
    pub http2: bool,
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backend.kind {
            Kind::Service => "service",
            Kind::Backend => "backend",
            other => other.name(),
        };
        write!(f, "{kind}/{}/{}", self.backend.namespace, self.backend.name)?;
        if let Some(port) = self.port {
            write!(f, "/{port}")?;
        }
        if self.http2 {
            f.write_str("/h2")?;
        }
        Ok(())
    }
}

/// A secret on the wire: a certificate with its key, or authorities to trust.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SecretId {
    Certificate(ObjectId),
    /// The authorities of several objects, in the order of the references.
    Authorities(Vec<ObjectId>),
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(id) => write!(f, "certificate/{}/{}", id.namespace, id.name),
            Self::Authorities(ids) => {
                f.write_str("authorities")?;
                for id in ids {
                    let kind = if id.kind == Kind::Secret { "secret" } else { "configmap" };
                    write!(f, "/{kind}/{}/{}", id.namespace, id.name)?;
                }
                Ok(())
            }
        }
    }
}
