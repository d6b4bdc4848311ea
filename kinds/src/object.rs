//! A parsed object: its identity, its metadata, its typed content, and where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Deserialize;
use smol_str::SmolStr;

use crate::unreadable::Failure;
use crate::{Kind, Origin, Reading, Refusal, Shared};

/// The one way to name an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(Shared<ObjectName>);

/// What an [`ObjectId`] is made of. Cluster-scoped objects have an empty namespace.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub kind: Kind,
    pub namespace: SmolStr,
    pub name: SmolStr,
}

impl ObjectId {
    #[must_use]
    pub fn new(kind: Kind, namespace: impl Into<SmolStr>, name: impl Into<SmolStr>) -> Self {
        let namespace = if kind.info().namespaced { namespace.into() } else { SmolStr::default() };
        Self(ObjectName { kind, namespace, name: name.into() }.into())
    }

    /// The object of another kind that has the same name.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> Self {
        Self::new(kind, self.namespace.clone(), self.name.clone())
    }
}

impl Deref for ObjectId {
    type Target = ObjectName;

    fn deref(&self) -> &ObjectName {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of `metadata` that configuration may depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub labels: BTreeMap<SmolStr, SmolStr>,
    pub annotations: BTreeMap<SmolStr, SmolStr>,
    /// RFC 3339 in UTC, so that the order of the text is the order of time. Absent in most files.
    pub created: Option<SmolStr>,
    pub generation: i64,
    pub uid: Option<SmolStr>,
    pub deleted: bool,
}

/// An object of a kind that Chancery reads. Two objects are equal when they mean the same, wherever they were written.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: ObjectId,
    /// The version it was written in, such as `v1beta1`.
    pub version: SmolStr,
    pub meta: Meta,
    pub spec: Spec,
    pub reading: Reading,
    pub origin: Origin,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.meta == other.meta && self.spec == other.spec && self.reading == other.reading
    }
}

impl Object {
    /// The typed content, when the object is of that kind.
    #[must_use]
    pub fn spec<T: Typed>(&self) -> Option<&T> {
        T::from_spec(&self.spec)
    }

    /// Why a newer version of the object is not the one that is here.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.reading {
            Reading::Newest => None,
            Reading::Last(refusal) | Reading::Target(refusal) => Some(refusal),
        }
    }

    /// Why nothing is here but what the object is about.
    #[must_use]
    pub fn unread(&self) -> Option<&Refusal> {
        match &self.reading {
            Reading::Target(refusal) => Some(refusal),
            Reading::Newest | Reading::Last(_) => None,
        }
    }

    /// The order in which Gateway API breaks ties: older first, then by namespace and name.
    #[must_use]
    pub fn age_order(&self) -> (Option<&SmolStr>, &SmolStr, &SmolStr) {
        (self.meta.created.as_ref(), &self.id.namespace, &self.id.name)
    }
}

/// A typed content that belongs to exactly one kind.
pub trait Typed: Sized {
    const KIND: Kind;
    fn from_spec(spec: &Spec) -> Option<&Self>;
}

macro_rules! specs {
    ($($variant:ident($ty:ty) $root:ident;)+) => {
        /// The content of an object, by kind. Shared: an object that merely moved within its file has the same.
        #[derive(Clone, Debug)]
        pub enum Spec { $($variant(Arc<$ty>)),+ }

        impl PartialEq for Spec {
            fn eq(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(one), Self::$variant(other)) => Arc::ptr_eq(one, other) || one == other,)+
                    _ => false,
                }
            }
        }

        $(impl Typed for $ty {
            const KIND: Kind = Kind::$variant;
            fn from_spec(spec: &Spec) -> Option<&Self> {
                match spec { Spec::$variant(content) => Some(content), _ => None }
            }
        })+

        impl Spec {
            /// Takes the content of an object of this kind and reads it.
            pub(crate) fn read(kind: Kind, value: &mut serde_json::Value) -> Result<Self, Failure> {
                match kind { $(Kind::$variant => {
                    let root = specs!(@take $root value);
                    // Paths cost as much as reading does, and only an error needs one.
                    let content = <$ty as Deserialize>::deserialize(&root.1);
                    content.map(|content| Self::$variant(Arc::new(content))).or_else(|_| {
                        serde_path_to_error::deserialize::<_, $ty>(&root.1)
                            .map(|content| Self::$variant(Arc::new(content)))
                            .map_err(|error| specs!(@error root error))
                    })
                })+ }
            }
        }
    };
    // Kinds whose content stands under `spec`.
    (@take spec $value:ident) => {
        ("spec", $value.get_mut("spec").map_or(serde_json::Value::Object(serde_json::Map::new()), serde_json::Value::take))
    };
    // Kinds whose content stands beside the metadata.
    (@take whole $value:ident) => { ("", $value.take()) };
    (@error $root:ident $error:ident) => {{
        let inner = $error.path().to_string();
        let message = $error.into_inner().to_string();
        let path = match ($root.0, inner.as_str()) {
            (root, "." | "") => root.to_owned(),
            ("", inner) => inner.to_owned(),
            (root, inner) => format!("{root}.{inner}"),
        };
        Failure { path, message, content: $root.1 }
    }};
}

use crate::{ai, core, envoy_gateway, gateway, inference, kgateway};

specs! {
    GatewayClass(gateway::GatewayClassSpec) spec;
    Gateway(gateway::GatewaySpec) spec;
    ListenerSet(gateway::ListenerSetSpec) spec;
    HttpRoute(gateway::HttpRouteSpec) spec;
    GrpcRoute(gateway::GrpcRouteSpec) spec;
    TlsRoute(gateway::TlsRouteSpec) spec;
    TcpRoute(gateway::TcpRouteSpec) spec;
    UdpRoute(gateway::UdpRouteSpec) spec;
    ReferenceGrant(gateway::ReferenceGrantSpec) spec;
    BackendTlsPolicy(gateway::BackendTlsPolicySpec) spec;
    Service(core::Service) whole;
    EndpointSlice(core::EndpointSlice) whole;
    Secret(core::Secret) whole;
    ConfigMap(core::ConfigMap) whole;
    Namespace(core::Namespace) whole;
    Pod(core::Pod) whole;
    Backend(envoy_gateway::BackendSpec) spec;
    HttpRouteFilter(envoy_gateway::HttpRouteFilterSpec) spec;
    EnvoyPatchPolicy(envoy_gateway::EnvoyPatchPolicySpec) spec;
    EnvoyExtensionPolicy(envoy_gateway::EnvoyExtensionPolicySpec) spec;
    AiGatewayRoute(ai::AiGatewayRouteSpec) spec;
    AiServiceBackend(ai::AiServiceBackendSpec) spec;
    BackendSecurityPolicy(ai::BackendSecurityPolicySpec) spec;
    GatewayConfig(ai::GatewayConfigSpec) spec;
    QuotaPolicy(ai::QuotaPolicySpec) spec;
    InferencePool(inference::InferencePoolSpec) spec;
    InferenceObjective(inference::InferenceObjectiveSpec) spec;
    InferenceService(inference::InferenceServiceSpec) spec;
    LlmInferenceService(inference::LlmInferenceServiceSpec) spec;
    KgatewayBackend(kgateway::KgatewayBackendSpec) spec;
    GatewayParameters(kgateway::GatewayParametersSpec) spec;
    RateLimitPolicy(kgateway::RateLimitPolicySpec) spec;
    SecurityPolicy(envoy_gateway::SecurityPolicySpec) spec;
    BackendTrafficPolicy(envoy_gateway::BackendTrafficPolicySpec) spec;
    ClientTrafficPolicy(envoy_gateway::ClientTrafficPolicySpec) spec;
    EnvoyProxy(envoy_gateway::EnvoyProxySpec) spec;
}
