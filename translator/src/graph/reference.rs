//! The references that each kind makes: the table from which the graph's edges come.

use std::fmt;

use kinds::core::EndpointSlice;
use kinds::envoy_gateway::{BackendSpec, HttpRouteFilterSpec};
use kinds::gateway::{
    BackendRef, BackendTlsPolicySpec, GatewaySpec, GrpcRouteSpec, HttpRouteFilter, HttpRouteSpec, ListenerSetSpec,
    ListenerTls, ParentReference, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec,
};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;

/// What a reference is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A Gateway's class.
    Class,
    /// What a route or a ListenerSet attaches to.
    Parent,
    /// Where requests go.
    Backend,
    /// A certificate with its key.
    Certificate,
    /// Authorities to trust.
    Authorities,
    /// A filter that a route borrows.
    Extension,
    /// What a policy is about.
    PolicyTarget,
    /// The Service that an EndpointSlice belongs to.
    Slice,
    /// A Secret with keys, passwords or tokens.
    Credentials,
    /// A text that stands in an object of its own.
    Content,
    /// How the proxies of a Gateway or of a class run.
    Parameters,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Parent => "parent",
            Self::Backend => "backend",
            Self::Certificate => "certificate",
            Self::Authorities => "authorities",
            Self::Extension => "extension",
            Self::PolicyTarget => "target",
            Self::Slice => "slice",
            Self::Credentials => "credentials",
            Self::Content => "content",
            Self::Parameters => "parameters",
        }
    }
}

/// Roles in which a reference to another namespace needs a ReferenceGrant there. A parent decides by itself whom it
/// takes, and the others cannot cross.
pub(super) fn needs_grant(role: Role) -> bool {
    matches!(role, Role::Backend | Role::Certificate | Role::Authorities | Role::Extension | Role::Credentials)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Object(ObjectId),
    /// A group and kind that cannot stand in the role.
    Unsupported {
        group: SmolStr,
        kind: SmolStr,
        name: SmolStr,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => id.fmt(f),
            Self::Unsupported { group, kind, name } if group.is_empty() => write!(f, "{kind} {name}"),
            Self::Unsupported { group, kind, name } => write!(f, "{kind}.{group} {name}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub role: Role,
    pub path: SmolStr,
    pub target: Target,
}

/// The kinds that can stand in a role.
fn fits(role: Role, kind: Kind) -> bool {
    match role {
        Role::Class => kind == Kind::GatewayClass,
        Role::Parent => matches!(kind, Kind::Gateway | Kind::ListenerSet),
        Role::Backend => matches!(
            kind,
            Kind::Service | Kind::Backend | Kind::AiServiceBackend | Kind::InferencePool | Kind::KgatewayBackend
        ),
        Role::Certificate => kind == Kind::Secret,
        Role::Authorities => matches!(kind, Kind::ConfigMap | Kind::Secret),
        Role::Extension => kind == Kind::HttpRouteFilter,
        Role::PolicyTarget => matches!(
            kind,
            Kind::Service
                | Kind::Backend
                | Kind::Gateway
                | Kind::ListenerSet
                | Kind::HttpRoute
                | Kind::GrpcRoute
                | Kind::TlsRoute
                | Kind::TcpRoute
                | Kind::UdpRoute
                | Kind::AiGatewayRoute
                | Kind::AiServiceBackend
                | Kind::InferencePool
        ),
        Role::Slice => kind == Kind::Service,
        Role::Credentials => matches!(kind, Kind::Secret | Kind::BackendSecurityPolicy),
        Role::Content => matches!(kind, Kind::ConfigMap | Kind::Secret),
        Role::Parameters => matches!(kind, Kind::EnvoyProxy | Kind::GatewayParameters),
    }
}

/// The references of an object, in the order in which it makes them.
pub(super) fn references(object: &Object) -> Vec<Reference> {
    let mut found = References { source: object, found: Vec::new() };
    found.collect();
    found.found
}

pub(super) struct References<'a> {
    pub(super) source: &'a Object,
    found: Vec<Reference>,
}

impl References<'_> {
    fn collect(&mut self) {
        let object = self.source;
        match object.id.kind {
            Kind::Gateway => self.of_gateway(),
            Kind::ListenerSet => self.of_listener_set(),
            Kind::AiGatewayRoute
            | Kind::AiServiceBackend
            | Kind::BackendSecurityPolicy
            | Kind::InferencePool
            | Kind::KgatewayBackend
            | Kind::EnvoyPatchPolicy
            | Kind::EnvoyExtensionPolicy
            | Kind::QuotaPolicy
            | Kind::RateLimitPolicy => self.of_ai(),
            Kind::HttpRoute => self.of_http_route(),
            Kind::GrpcRoute => self.of_grpc_route(),
            Kind::TlsRoute => {
                let Some(spec) = object.spec::<TlsRouteSpec>() else { return };
                self.of_l4_route(&spec.parent_refs, spec.rules.iter().map(|rule| rule.backend_refs.as_slice()));
            }
            Kind::TcpRoute => {
                let Some(spec) = object.spec::<TcpRouteSpec>() else { return };
                self.of_l4_route(&spec.parent_refs, spec.rules.iter().map(|rule| rule.backend_refs.as_slice()));
            }
            Kind::UdpRoute => {
                let Some(spec) = object.spec::<UdpRouteSpec>() else { return };
                self.of_l4_route(&spec.parent_refs, spec.rules.iter().map(|rule| rule.backend_refs.as_slice()));
            }
            Kind::BackendTlsPolicy => self.of_backend_tls_policy(),
            Kind::Backend => self.of_backend(),
            Kind::HttpRouteFilter => self.of_http_route_filter(),
            Kind::EndpointSlice => self.of_endpoint_slice(),
            Kind::GatewayClass => self.of_gateway_class(),
            Kind::SecurityPolicy => self.of_security_policy(),
            Kind::BackendTrafficPolicy => self.of_backend_traffic_policy(),
            Kind::ClientTrafficPolicy => self.of_client_traffic_policy(),
            Kind::EnvoyProxy => self.of_envoy_proxy(),
            _ => {}
        }
    }

    pub(super) fn add(
        &mut self,
        role: Role,
        path: &FieldPath,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) {
        let known = Kind::lookup(group, kind).filter(|kind| fits(role, *kind));
        let target = match known {
            Some(kind) => {
                let namespace = namespace.map_or_else(|| self.source.id.namespace.clone(), SmolStr::new);
                Target::Object(ObjectId::new(kind, namespace, name))
            }
            None => Target::Unsupported { group: group.into(), kind: kind.into(), name: name.into() },
        };
        self.found.push(Reference { role, path: path.as_str().into(), target });
    }

    fn of_gateway(&mut self) {
        let Some(spec) = self.source.spec::<GatewaySpec>() else { return };
        let path = FieldPath::from("spec.gatewayClassName");
        self.add(Role::Class, &path, Kind::GatewayClass.group(), "GatewayClass", None, &spec.gateway_class_name);
        for (index, listener) in spec.listeners.iter().enumerate() {
            self.certificates(listener.tls.as_ref(), &FieldPath::from("spec.listeners").index(index));
        }
        if let Some(r) = spec.infrastructure.as_ref().and_then(|infrastructure| infrastructure.parameters_ref.as_ref())
        {
            let path = FieldPath::from("spec.infrastructure.parametersRef");
            self.add(Role::Parameters, &path, &r.group, &r.kind, None, &r.name);
        }
        if let Some(r) = spec.tls.as_ref().and_then(|tls| tls.backend.as_ref()?.client_certificate_ref.as_ref()) {
            let path = FieldPath::from("spec.tls.backend.clientCertificateRef");
            self.add(Role::Certificate, &path, &r.group, &r.kind, r.namespace.as_deref(), &r.name);
        }
        let Some(frontend) = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) else { return };
        let base = FieldPath::from("spec.tls.frontend");
        if let Some(validation) = &frontend.default.validation {
            self.authorities(&validation.ca_certificate_refs, &base.field("default").field("validation"));
        }
        for (index, port) in frontend.per_port.iter().enumerate() {
            if let Some(validation) = &port.tls.validation {
                let path = base.field("perPort").index(index).field("tls").field("validation");
                self.authorities(&validation.ca_certificate_refs, &path);
            }
        }
    }

    fn of_listener_set(&mut self) {
        let Some(spec) = self.source.spec::<ListenerSetSpec>() else { return };
        let parent = &spec.parent_ref;
        let path = FieldPath::from("spec.parentRef");
        self.add(Role::Parent, &path, &parent.group, &parent.kind, parent.namespace.as_deref(), &parent.name);
        for (index, listener) in spec.listeners.iter().enumerate() {
            self.certificates(listener.tls.as_ref(), &FieldPath::from("spec.listeners").index(index));
        }
    }

    fn certificates(&mut self, tls: Option<&ListenerTls>, listener: &FieldPath) {
        let refs = tls.map(|tls| tls.certificate_refs.as_slice()).unwrap_or_default();
        let base = listener.field("tls").field("certificateRefs");
        for (index, r) in refs.iter().enumerate() {
            self.add(Role::Certificate, &base.index(index), &r.group, &r.kind, r.namespace.as_deref(), &r.name);
        }
    }

    fn authorities(&mut self, refs: &[kinds::gateway::ObjectReference], validation: &FieldPath) {
        let base = validation.field("caCertificateRefs");
        for (index, r) in refs.iter().enumerate() {
            self.add(Role::Authorities, &base.index(index), &r.group, &r.kind, r.namespace.as_deref(), &r.name);
        }
    }

    pub(super) fn parents(&mut self, refs: &[ParentReference]) {
        let base = FieldPath::from("spec.parentRefs");
        for (index, r) in refs.iter().enumerate() {
            self.add(Role::Parent, &base.index(index), &r.group, &r.kind, r.namespace.as_deref(), &r.name);
        }
    }

    pub(super) fn backend(&mut self, r: &BackendRef, path: &FieldPath) {
        self.add(Role::Backend, path, &r.group, &r.kind, r.namespace.as_deref(), &r.name);
    }

    fn filters(&mut self, filters: &[HttpRouteFilter], base: &FieldPath) {
        for (index, filter) in filters.iter().enumerate() {
            let path = base.index(index);
            if let Some(mirror) = &filter.request_mirror {
                self.backend(&mirror.backend_ref, &path.field("requestMirror").field("backendRef"));
            }
            if let Some(auth) = &filter.external_auth {
                self.backend(&auth.backend_ref, &path.field("externalAuth").field("backendRef"));
            }
            if let Some(r) = &filter.extension_ref {
                self.add(Role::Extension, &path.field("extensionRef"), &r.group, &r.kind, None, &r.name);
            }
        }
    }

    fn of_http_route(&mut self) {
        let Some(spec) = self.source.spec::<HttpRouteSpec>() else { return };
        self.parents(&spec.parent_refs);
        for (index, rule) in spec.rules.iter().enumerate() {
            let path = FieldPath::from("spec.rules").index(index);
            self.filters(&rule.filters, &path.field("filters"));
            let base = path.field("backendRefs");
            for (index, r) in rule.backend_refs.iter().enumerate() {
                self.backend(&r.backend, &base.index(index));
                self.filters(&r.filters, &base.index(index).field("filters"));
            }
        }
    }

    fn of_grpc_route(&mut self) {
        let Some(spec) = self.source.spec::<GrpcRouteSpec>() else { return };
        self.parents(&spec.parent_refs);
        for (index, rule) in spec.rules.iter().enumerate() {
            let path = FieldPath::from("spec.rules").index(index);
            self.filters(&rule.filters, &path.field("filters"));
            let base = path.field("backendRefs");
            for (index, r) in rule.backend_refs.iter().enumerate() {
                self.backend(&r.backend, &base.index(index));
                self.filters(&r.filters, &base.index(index).field("filters"));
            }
        }
    }

    fn of_l4_route<'s>(&mut self, parents: &[ParentReference], rules: impl Iterator<Item = &'s [BackendRef]>) {
        self.parents(parents);
        for (index, backends) in rules.enumerate() {
            let base = FieldPath::from("spec.rules").index(index).field("backendRefs");
            for (index, r) in backends.iter().enumerate() {
                self.backend(r, &base.index(index));
            }
        }
    }

    fn of_backend_tls_policy(&mut self) {
        let Some(spec) = self.source.spec::<BackendTlsPolicySpec>() else { return };
        let base = FieldPath::from("spec.targetRefs");
        for (index, r) in spec.target_refs.iter().enumerate() {
            self.add(Role::PolicyTarget, &base.index(index), &r.group, &r.kind, None, &r.name);
        }
        let base = FieldPath::from("spec.validation.caCertificateRefs");
        for (index, r) in spec.validation.ca_certificate_refs.iter().enumerate() {
            self.add(Role::Authorities, &base.index(index), &r.group, &r.kind, None, &r.name);
        }
    }

    fn of_http_route_filter(&mut self) {
        let Some(spec) = self.source.spec::<HttpRouteFilterSpec>() else { return };
        if let Some(injection) = &spec.credential_injection {
            let (path, r) =
                (FieldPath::from("spec.credentialInjection.credential.valueRef"), &injection.credential.value_ref);
            self.add(Role::Credentials, &path, &r.group, &r.kind, r.namespace.as_deref(), &r.name);
        }
        let body = spec.direct_response.as_ref().and_then(|answer| answer.body.as_ref());
        if let Some(r) = body.and_then(|body| body.value_ref.as_ref()) {
            let path = FieldPath::from("spec.directResponse.body.valueRef");
            self.add(Role::Content, &path, &r.group, &r.kind, None, &r.name);
        }
    }

    fn of_backend(&mut self) {
        let Some(tls) = self.source.spec::<BackendSpec>().and_then(|spec| spec.tls.as_ref()) else { return };
        let base = FieldPath::from("spec.tls");
        for (index, r) in tls.ca_certificate_refs.iter().enumerate() {
            let path = base.field("caCertificateRefs").index(index);
            self.add(Role::Authorities, &path, &r.group, &r.kind, None, &r.name);
        }
        if let Some(r) = &tls.client_certificate_ref {
            let path = base.field("clientCertificateRef");
            self.secret(Role::Certificate, &path, r);
        }
    }

    fn of_endpoint_slice(&mut self) {
        if self.source.spec::<EndpointSlice>().is_none() {
            return;
        }
        let Some(service) = self.source.meta.labels.get("kubernetes.io/service-name") else { return };
        let path = FieldPath::from("metadata.labels[kubernetes.io/service-name]");
        self.add(Role::Slice, &path, "", "Service", None, service);
    }
}
