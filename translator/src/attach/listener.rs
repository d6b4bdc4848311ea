//! One listener by itself: protocol, kinds of route, certificates.

use kinds::gateway::{FrontendValidationMode, GatewaySpec, Listener, TlsMode};
use kinds::{FieldPath, Kind, Object, ObjectId};

use super::plan::PlannedListener;
use crate::engine::{PortId, View};
use crate::graph::{Target, Verdict};
use crate::names::{HcmName, ListenerId, ListenerName, SecretId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    TlsPassthrough,
    TlsTerminate,
    Tcp,
    Udp,
    Unknown,
}

/// What is wrong with a listener, in the words of Gateway API: the condition it makes false, and its reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerProblem {
    pub condition: &'static str,
    pub reason: &'static str,
    pub message: String,
    pub path: FieldPath,
    /// Whether the listener cannot be served. One with a forbidden kind of route beside allowed ones, or with one bad
    /// certificate beside good ones, can.
    pub fatal: bool,
}

impl ListenerProblem {
    pub(crate) fn new(
        condition: &'static str,
        reason: &'static str,
        path: FieldPath,
        message: impl Into<String>,
    ) -> Self {
        let fatal = matches!(condition, "Accepted" | "Conflicted");
        Self { condition, reason, message: message.into(), path, fatal }
    }
}

/// Whose certificates clients may show.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientValidation {
    pub authorities: SecretId,
    /// Clients without a certificate, or with any, are let in all the same.
    pub insecure_fallback: bool,
}

impl Protocol {
    fn of(listener: &Listener) -> Self {
        let mode = listener.tls.as_ref().map(|tls| tls.mode);
        match (listener.protocol.as_str(), mode) {
            ("HTTP", _) => Self::Http,
            ("HTTPS", _) => Self::Https,
            ("TLS", Some(TlsMode::Passthrough)) => Self::TlsPassthrough,
            ("TLS", _) => Self::TlsTerminate,
            ("TCP", _) => Self::Tcp,
            ("UDP", _) => Self::Udp,
            _ => Self::Unknown,
        }
    }

    /// The kinds of route that can attach.
    pub(crate) fn route_kinds(self) -> &'static [Kind] {
        match self {
            Self::Http | Self::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            Self::TlsPassthrough => &[Kind::TlsRoute],
            Self::TlsTerminate => &[Kind::TlsRoute, Kind::TcpRoute],
            Self::Tcp => &[Kind::TcpRoute],
            Self::Udp => &[Kind::UdpRoute],
            Self::Unknown => &[],
        }
    }

    pub(crate) fn terminates_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }
}

pub(crate) fn plan(
    gateway: &Object,
    owner: &ObjectId,
    written: &Listener,
    path: FieldPath,
    view: &View<'_>,
) -> PlannedListener {
    let protocol = Protocol::of(written);
    let id: ListenerId =
        ListenerName { gateway: gateway.id.clone(), owner: owner.clone(), section: written.name.as_str().into() }
            .into();
    let of_its_own = (protocol == Protocol::Https).then(|| id.clone());
    let hcm = HcmName { gateway: gateway.id.clone(), port: written.port, listener: of_its_own }.into();
    let mut problems = Vec::new();
    if protocol == Protocol::Unknown {
        let message = format!("protocol {} is not one of HTTP, HTTPS, TLS, TCP, UDP", written.protocol);
        problems.push(ListenerProblem::new("Accepted", "UnsupportedProtocol", path.field("protocol"), message));
    }
    let kinds = allowed_kinds(written, protocol, &path, &mut problems);
    let certificates =
        if protocol.terminates_tls() { certificates(owner, written, &path, view, &mut problems) } else { Vec::new() };
    let client_validation =
        if protocol.terminates_tls() { client_validation(gateway, written.port, view, &mut problems) } else { None };
    PlannedListener {
        id,
        hcm,
        port: PortId { number: written.port, udp: protocol == Protocol::Udp },
        hostname: written.hostname.as_ref().map(|hostname| hostname.as_str().into()),
        protocol,
        allowed: written.allowed_routes.clone().unwrap_or_default(),
        kinds,
        certificates,
        client_validation,
        tls: written.tls.clone(),
        problems,
        path,
    }
}

fn allowed_kinds(
    written: &Listener,
    protocol: Protocol,
    path: &FieldPath,
    problems: &mut Vec<ListenerProblem>,
) -> Vec<Kind> {
    let able = protocol.route_kinds();
    let asked = written.allowed_routes.as_ref().map(|allowed| allowed.kinds.as_slice()).unwrap_or_default();
    if asked.is_empty() {
        return able.to_vec();
    }
    let mut kinds = Vec::new();
    for (index, asked) in asked.iter().enumerate() {
        let kind = Kind::lookup(asked.group.as_deref().unwrap_or("gateway.networking.k8s.io"), &asked.kind);
        match kind.filter(|kind| able.contains(kind)) {
            Some(kind) => kinds.push(kind),
            None => {
                let path = path.field("allowedRoutes").field("kinds").index(index);
                let message = format!("routes of kind {} cannot attach to a {} listener", asked.kind, written.protocol);
                problems.push(ListenerProblem::new("ResolvedRefs", "InvalidRouteKinds", path, message));
            }
        }
    }
    kinds
}

fn certificates(
    owner: &ObjectId,
    written: &Listener,
    path: &FieldPath,
    view: &View<'_>,
    problems: &mut Vec<ListenerProblem>,
) -> Vec<SecretId> {
    let refs = path.field("tls").field("certificateRefs");
    let count = written.tls.as_ref().map_or(0, |tls| tls.certificate_refs.len());
    if count == 0 {
        let message = "a listener that terminates TLS needs a certificate";
        let problem = ListenerProblem::new("ResolvedRefs", "InvalidCertificateRef", refs, message);
        problems.push(ListenerProblem { fatal: true, ..problem });
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut bad = Vec::new();
    for index in 0..count {
        let path = refs.index(index);
        let Some(edge) = view.reference(owner, path.as_str()) else { continue };
        let problem = match (&edge.target, edge.verdict) {
            (Target::Object(id), Verdict::Allowed) => match crate::render::secret::certificate_problem(id, view) {
                None => {
                    found.push(SecretId::Certificate(id.clone()));
                    continue;
                }
                Some(problem) => ("InvalidCertificateRef", format!("{id}: {problem}")),
            },
            (target, Verdict::NotPermitted) => {
                let message = format!("{target} is in another namespace and no ReferenceGrant there permits it");
                ("RefNotPermitted", message)
            }
            (target, Verdict::NotFound) => ("InvalidCertificateRef", format!("{target} does not exist")),
            (target, _) => ("InvalidCertificateRef", format!("{target} cannot hold a certificate: only a Secret can")),
        };
        bad.push(ListenerProblem::new("ResolvedRefs", problem.0, path, problem.1));
    }
    for problem in &mut bad {
        // One good certificate is enough to serve; the condition still names the bad ones.
        problem.fatal = found.is_empty();
        if !problem.fatal && problem.reason == "InvalidCertificateRef" {
            problem.reason = "PartiallyInvalidCertificateRef";
        }
    }
    problems.append(&mut bad);
    found
}

/// What a Gateway asks of the certificates of a port's clients.
fn client_validation(
    gateway: &Object,
    port: u16,
    view: &View<'_>,
    problems: &mut Vec<ListenerProblem>,
) -> Option<ClientValidation> {
    let frontend = gateway.spec::<GatewaySpec>()?.tls.as_ref()?.frontend.as_ref()?;
    let base = FieldPath::from("spec.tls.frontend");
    let per_port = frontend.per_port.iter().enumerate().find(|(_, entry)| entry.port == port);
    let (validation, path) = match per_port {
        Some((index, entry)) => (entry.tls.validation.as_ref()?, base.field("perPort").index(index).field("tls")),
        None => (frontend.default.validation.as_ref()?, base.field("default")),
    };
    let refs = path.field("validation").field("caCertificateRefs");
    let mut found = Vec::new();
    for index in 0..validation.ca_certificate_refs.len() {
        let path = refs.index(index);
        let Some(edge) = view.reference(&gateway.id, path.as_str()) else {
            let message = "only a ConfigMap or a Secret can hold authorities";
            problems.push(ListenerProblem::new("ResolvedRefs", "InvalidCACertificateKind", path, message));
            continue;
        };
        let problem = match (&edge.target, edge.verdict) {
            (Target::Object(id), Verdict::Allowed) => match crate::render::secret::authority_problem(id, view) {
                None => {
                    found.push(id.clone());
                    continue;
                }
                Some(problem) => ("InvalidCACertificateRef", format!("{id}: {problem}")),
            },
            (target, Verdict::NotPermitted) => ("RefNotPermitted", format!("{target}: no ReferenceGrant permits it")),
            (target, Verdict::NotFound) => ("InvalidCACertificateRef", format!("{target} does not exist")),
            (target, _) => ("InvalidCACertificateKind", format!("{target} cannot hold authorities")),
        };
        problems.push(ListenerProblem::new("ResolvedRefs", problem.0, path, problem.1));
    }
    if found.is_empty() {
        // Nobody could prove anything to this listener, and letting everyone in is not what was asked for.
        let message = "none of the authorities of client certificates is good";
        problems.push(ListenerProblem::new("Accepted", "NoValidCACertificate", refs, message));
        return None;
    }
    let insecure_fallback = validation.mode == FrontendValidationMode::AllowInsecureFallback;
    Some(ClientValidation { authorities: SecretId::Authorities(found), insecure_fallback })
}
