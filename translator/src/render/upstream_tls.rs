//! TLS towards backends, as a BackendTLSPolicy asks for it.

use kinds::gateway::{BackendTlsPolicySpec, SubjectAltName, WellKnownCaCertificates};
use kinds::{FieldPath, Kind, Object, ObjectId};
use xds_api::any;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use xds_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use xds_api::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
};

use super::downstream_tls::sds;
use crate::engine::{UnitId, View};
use crate::graph::{Role, Target, Verdict};
use crate::names::{ClusterId, SecretId};
use crate::routing::exactly;

pub(crate) fn apply(
    id: &ClusterId,
    cluster: &mut Cluster,
    gateway: &ObjectId,
    demands: &mut Vec<UnitId>,
    view: &View<'_>,
) {
    let Some(policy) = policy_for(id, view) else {
        return super::backend_tls::apply(&id.backend, cluster, gateway, demands, view);
    };
    let Some(spec) = policy.spec::<BackendTlsPolicySpec>() else { return };
    let system = matches!(spec.validation.well_known_ca_certificates, Some(WellKnownCaCertificates::System));
    let authorities = if system { Some(SecretId::SystemAuthorities) } else { authorities(policy, spec, view) };
    let Some(authorities) = authorities else {
        cluster.transport_socket = Some(trusts_nobody(&spec.validation.hostname));
        return;
    };
    demands.push(UnitId::Secret(gateway.clone(), authorities.clone()));
    let mut common = CommonTlsContext::default();
    let certificate = crate::policy::proxy::backend_tls::apply(gateway, &mut common, view);
    demands.extend(certificate.map(|id| UnitId::Secret(gateway.clone(), id)));
    cluster.transport_socket = Some(socket(&authorities, names(spec), &spec.validation.hostname, common));
}

/// TLS to a server that the roots of the machine vouch for by its name.
pub(crate) fn by_system_roots(hostname: &str, gateway: &ObjectId, demands: &mut Vec<UnitId>) -> TransportSocket {
    demands.push(UnitId::Secret(gateway.clone(), SecretId::SystemAuthorities));
    socket(&SecretId::SystemAuthorities, vec![dns_name(hostname)], hostname, CommonTlsContext::default())
}

pub(super) fn dns_name(hostname: &str) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: SanType::Dns as i32,
        matcher: Some(exactly(hostname)),
        ..SubjectAltNameMatcher::default()
    }
}

/// A certificate with this hash does not exist: every handshake ends before a request is sent.
pub(crate) fn nobody() -> CertificateValidationContext {
    CertificateValidationContext { verify_certificate_hash: vec!["0".repeat(64)], ..Default::default() }
}

/// Without authorities no server can prove who it is, and nothing is to be sent to one that has not.
fn trusts_nobody(sni: &str) -> TransportSocket {
    let common = CommonTlsContext {
        validation_context_type: Some(ValidationContextType::ValidationContext(nobody())),
        ..CommonTlsContext::default()
    };
    with_context(common, sni)
}

fn socket(
    authorities: &SecretId,
    names: Vec<SubjectAltNameMatcher>,
    sni: &str,
    mut common: CommonTlsContext,
) -> TransportSocket {
    let own = CertificateValidationContext {
        match_typed_subject_alt_names: names,
        ..CertificateValidationContext::default()
    };
    let validation = ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(own),
        validation_context_sds_secret_config: Some(sds(authorities)),
        ..CombinedCertificateValidationContext::default()
    });
    common.validation_context_type = Some(validation);
    with_context(common, sni)
}

fn with_context(common: CommonTlsContext, sni: &str) -> TransportSocket {
    transport_socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    })
}

pub(super) fn transport_socket(context: &UpstreamTlsContext) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(context))),
    }
}

/// The policy in force: one that names the port before one for the whole Service, then the oldest.
pub(crate) fn policy_for<'a>(id: &ClusterId, view: &View<'a>) -> Option<&'a Object> {
    let port_name = port_name(id, view);
    let mut candidates: Vec<(bool, &Object)> = Vec::new();
    for referrer in view.referrers_of(&id.backend, Role::PolicyTarget, Kind::BackendTlsPolicy) {
        let Some(object) = view.object(referrer) else { continue };
        let Some(spec) = object.spec::<BackendTlsPolicySpec>() else { continue };
        let target = spec.target_refs.iter().filter(|target| target.name == id.backend.name);
        for target in target.filter(|target| target.kind == id.backend.kind.name()) {
            match &target.section_name {
                None => candidates.push((true, object)),
                Some(section) if port_name.as_deref() == Some(section.as_str()) => candidates.push((false, object)),
                Some(_) => {}
            }
        }
    }
    candidates.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.age_order().cmp(&b.1.age_order())));
    candidates.first().map(|(_, object)| *object)
}

fn port_name(id: &ClusterId, view: &View<'_>) -> Option<String> {
    let service = view.spec::<kinds::core::Service>(&id.backend)?;
    let port = service.spec.ports.iter().find(|port| Some(port.port) == id.port)?;
    port.name.as_ref().map(ToString::to_string)
}

fn authorities(policy: &Object, spec: &BackendTlsPolicySpec, view: &View<'_>) -> Option<SecretId> {
    let verdicts = authority_verdicts(policy, spec, view).into_iter();
    let good: Vec<_> = verdicts.filter_map(|(_, verdict)| verdict.ok()).collect();
    (!good.is_empty()).then_some(SecretId::Authorities(good))
}

/// Why a reference to authorities is of no use: a reason of the `ResolvedRefs` condition.
pub(crate) struct RefusedAuthority {
    pub reason: &'static str,
    pub message: String,
}

/// Each reference to authorities, by its field.
pub(crate) fn authority_verdicts(
    policy: &Object,
    spec: &BackendTlsPolicySpec,
    view: &View<'_>,
) -> Vec<(FieldPath, Result<ObjectId, RefusedAuthority>)> {
    let path = FieldPath::from("spec.validation.caCertificateRefs");
    let verdict = |index| {
        let refused = |reason, message| Err(RefusedAuthority { reason, message });
        let path = path.index(index);
        let verdict = match view.reference(&policy.id, path.as_str()).map(|edge| (&edge.target, edge.verdict)) {
            Some((Target::Object(id), Verdict::Allowed)) => match super::secret::authority_problem(id, view) {
                None => Ok(id.clone()),
                Some(problem) => refused("InvalidCACertificateRef", format!("{id}: {problem}")),
            },
            Some((target, Verdict::NotFound)) => refused("InvalidCACertificateRef", format!("{target} does not exist")),
            Some((target, _)) => refused("InvalidKind", format!("{target} cannot hold authorities")),
            None => refused("InvalidKind", "only a ConfigMap or a Secret can hold authorities".to_owned()),
        };
        (path, verdict)
    };
    (0..spec.validation.ca_certificate_refs.len()).map(verdict).collect()
}

/// The server must prove one of the names that the policy lists, or else the hostname itself.
fn names(spec: &BackendTlsPolicySpec) -> Vec<SubjectAltNameMatcher> {
    let matcher = |kind: SanType, value: &str| SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(exactly(value)),
        ..SubjectAltNameMatcher::default()
    };
    if spec.validation.subject_alt_names.is_empty() {
        return vec![matcher(SanType::Dns, &spec.validation.hostname)];
    }
    let listed = spec.validation.subject_alt_names.iter().map(|name| match name {
        SubjectAltName::Hostname { hostname } => matcher(SanType::Dns, hostname),
        SubjectAltName::Uri { uri } => matcher(SanType::Uri, uri),
    });
    listed.collect()
}
