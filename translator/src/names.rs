//! How things are named on the wire.
//!
//! Names come from object names, never from positions, so that inserting a rule neither renames a cluster nor resets a
//! counter.

use std::fmt;

use kinds::{Kind, ObjectId, Shared};
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

/// Exact hostnames of a listener are spread over this many tables: one or two hosts share one at 10,000 hosts. A change
/// costs what its table holds, here and in Envoy; a table costs Envoy some three kilobytes.
const SHARDS: u64 = 8192;

/// The cluster that does not exist. Envoy answers 500 for it: the share of a backend that cannot be resolved.
pub const UNRESOLVED_CLUSTER: &str = "chancery/unresolved";

pub(crate) type ListenerId = Shared<ListenerName>;
pub(crate) type HcmId = Shared<HcmName>;
pub(crate) type ClusterId = Shared<ClusterName>;

/// A listener of a Gateway, which the Gateway itself or a ListenerSet declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerName {
    pub gateway: ObjectId,
    pub owner: ObjectId,
    pub section: SmolStr,
}

/// What holds one set of route tables: all plain HTTP listeners of a port together, or one HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HcmName {
    pub gateway: ObjectId,
    pub port: u16,
    /// The HTTPS listener; none for the plain HTTP listeners of the port.
    pub listener: Option<ListenerId>,
}

impl HcmName {
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
            Self::Hosts(number) => write!(f, "hosts-{number:04x}"),
        }
    }
}

/// A cluster: a backend, and everything that makes it a cluster of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterName {
    pub backend: ObjectId,
    /// None where the backend itself says its ports.
    pub port: Option<u16>,
    /// The route speaks HTTP/2 to the backend whatever its port says, as GRPCRoutes do.
    pub http2: bool,
    /// A policy that says how to connect.
    pub settings: Option<Settings>,
    pub form: Form,
}

/// What a cluster is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    #[default]
    Plain,
    /// Several backends in the order of their priority, of which `backend` is the first: one takes over from another.
    Takeover(Vec<Member>),
    /// The endpoint picker of an inference pool.
    Picker,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub backend: ObjectId,
    /// None where the backend itself says its ports.
    pub port: Option<u16>,
    pub priority: u32,
    pub weight: u32,
}

impl ClusterName {
    /// A backend that says its ports itself.
    pub(crate) fn of_backend(backend: ObjectId) -> Self {
        Self { backend, port: None, http2: false, settings: None, form: Form::Plain }
    }

    /// What calls of gRPC name as their authority: a cluster's own name is none, and strict servers refuse it.
    pub(crate) fn authority(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}.{}{port}", self.backend.name, self.backend.namespace)
    }

    /// Backends that take over from each other; none for an empty list.
    pub(crate) fn taking_over(members: Vec<Member>) -> Option<Self> {
        let backend = members.first()?.backend.clone();
        Some(Self { form: Form::Takeover(members), ..Self::of_backend(backend) })
    }
}

/// The same backend, reached as a policy says.
pub(crate) fn connected_as(cluster: ClusterId, settings: Option<&Settings>) -> ClusterId {
    match settings {
        None => cluster,
        Some(settings) => ClusterName { settings: Some(settings.clone()), ..ClusterName::clone(&cluster) }.into(),
    }
}

/// A policy, or the merge of two: the more specific comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Chain(pub Vec<ObjectId>);

impl Chain {
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.0.first().map(|policy| policy.kind)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, policy) in self.0.iter().enumerate() {
            let joint = if index > 0 { "+" } else { "" };
            write!(f, "{joint}{}/{}", policy.namespace, policy.name)?;
        }
        Ok(())
    }
}

/// Where a policy says how to connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Settings {
    pub chain: Chain,
    /// The field with `backendSettings`; empty for a BackendTrafficPolicy, which is such settings itself.
    pub part: SmolStr,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.chain.kind() {
            Some(Kind::BackendTrafficPolicy) => "traffic",
            Some(Kind::SecurityPolicy) => "security",
            Some(other) => other.info().plural,
            None => "settings",
        };
        write!(f, "{kind}/{}", self.chain)?;
        if !self.part.is_empty() {
            write!(f, "/{}", self.part)?;
        }
        Ok(())
    }
}

/// A server known by its address: of keys, of tokens, of traces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Authority {
    pub host: SmolStr,
    pub port: u16,
    pub tls: bool,
    pub http2: bool,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "external/{scheme}/{}/{}", self.host, self.port)?;
        if self.http2 {
            f.write_str("/h2")?;
        }
        Ok(())
    }
}

/// What a guard asks for, in the order in which a request meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum GuardSort {
    ExtAuth,
    Keys,
    Login,
    Tokens,
}

impl GuardSort {
    pub(crate) const ALL: [Self; 4] = [Self::ExtAuth, Self::Keys, Self::Login, Self::Tokens];
}

/// The identity of a guard: of the rules by which credentials are read, and of where they are kept. It does not change
/// with the credentials themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GuardId {
    pub sort: GuardSort,
    hash: u64,
}

impl GuardId {
    pub(crate) fn of(sort: GuardSort, identity: &[u8]) -> Self {
        Self { sort, hash: xxh3_64(identity) }
    }
}

impl fmt::Display for GuardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match self.sort {
            GuardSort::ExtAuth => "ext-auth",
            GuardSort::Keys => "keys",
            GuardSort::Login => "login",
            GuardSort::Tokens => "tokens",
        };
        write!(f, "{sort}/{:016x}", self.hash)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backend.kind {
            Kind::Service => "service",
            Kind::Backend => "backend",
            Kind::AiServiceBackend => "ai",
            Kind::InferencePool => "pool",
            Kind::KgatewayBackend => "kgateway",
            other => other.name(),
        };
        match &self.form {
            Form::Plain => write!(f, "{kind}/{}/{}", self.backend.namespace, self.backend.name)?,
            Form::Picker => write!(f, "picker/{}/{}", self.backend.namespace, self.backend.name)?,
            Form::Takeover(members) => {
                f.write_str("takeover")?;
                for Member { backend, port, priority, weight } in members {
                    write!(f, "/{priority}:{}:{}:{weight}", backend.namespace, backend.name)?;
                    if backend.kind != Kind::AiServiceBackend {
                        write!(f, ":{}", backend.kind.info().plural)?;
                    }
                    if let Some(port) = port {
                        write!(f, ":{port}")?;
                    }
                }
            }
        }
        if let Some(port) = self.port {
            write!(f, "/{port}")?;
        }
        if self.http2 {
            f.write_str("/h2")?;
        }
        if let Some(settings) = &self.settings {
            write!(f, "/{settings}")?;
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
    /// A secret that a filter sends: an OAuth client's, or the key by which a filter signs its cookies.
    Generic(ObjectId, SmolStr),
    /// The roots of the machine that Envoy runs on.
    SystemAuthorities,
    /// A key for a provider, without the scheme that some write before it.
    ApiKey(ObjectId, SmolStr),
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(id) => write!(f, "certificate/{}/{}", id.namespace, id.name),
            Self::SystemAuthorities => f.write_str("authorities/system"),
            Self::Authorities(ids) => {
                f.write_str("authorities")?;
                for id in ids {
                    let kind = if id.kind == Kind::Secret { "secret" } else { "configmap" };
                    write!(f, "/{kind}/{}/{}", id.namespace, id.name)?;
                }
                Ok(())
            }
            Self::Generic(id, key) => write!(f, "generic/{}/{}/{key}", id.namespace, id.name),
            Self::ApiKey(id, key) => write!(f, "api-key/{}/{}/{key}", id.namespace, id.name),
        }
    }
}
