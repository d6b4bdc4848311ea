//! TLS towards backends, as a BackendTLSPolicy asks for it.

use kinds::gateway::{BackendTlsPolicySpec, SubjectAltName, WellKnownCaCertificates};
use kinds::{FieldPath, Kind, Object, ObjectId};
use xds_api::any;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::core::v3::{TransportSocket, transport_socket};
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
    let Some(policy) = policy_for(id, view) else { return };
    let Some(spec) = policy.spec::<BackendTlsPolicySpec>() else { return };
    let system = matches!(spec.validation.well_known_ca_certificates, Some(WellKnownCaCertificates::System));
    let authorities = if system { Some(SecretId::SystemAuthorities) } else { authorities(policy, spec, view) };
    // Without authorities nothing can be trusted: the name of a secret that never comes keeps the cluster from sending
    // anything unverified.
    let authorities = authorities.unwrap_or(SecretId::Authorities(Vec::new()));
    demands.push(UnitId::Secret(gateway.clone(), authorities.clone()));
    let mut common = CommonTlsContext::default();
    let certificate = crate::policy::proxy::backend_tls::apply(gateway, &mut common, view);
    demands.extend(certificate.map(|id| UnitId::Secret(gateway.clone(), id)));
    cluster.transport_socket = Some(socket(&authorities, names(spec), &spec.validation.hostname, common));
}

/// TLS to a server that the roots of the machine vouch for by its name.
pub(crate) fn by_system_roots(hostname: &str, gateway: &ObjectId, demands: &mut Vec<UnitId>) -> TransportSocket {
    demands.push(UnitId::Secret(gateway.clone(), SecretId::SystemAuthorities));
    let name = SubjectAltNameMatcher {
        san_type: SanType::Dns as i32,
        matcher: Some(exactly(hostname)),
        ..SubjectAltNameMatcher::default()
    };
    socket(&SecretId::SystemAuthorities, vec![name], hostname, CommonTlsContext::default())
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
    let context =
        UpstreamTlsContext { common_tls_context: Some(common), sni: sni.to_owned(), ..UpstreamTlsContext::default() };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

/// The policy in force: one that names the port before one for the whole Service, then the oldest.
pub(crate) fn policy_for<'a>(id: &ClusterId, view: &View<'a>) -> Option<&'a Object> {
    let port_name = port_name(id, view);
    let mut candidates: Vec<(bool, &Object)> = Vec::new();
    for referrer in view.referrers(&id.backend, Role::PolicyTarget) {
        if referrer.kind != Kind::BackendTlsPolicy {
            continue;
        }
        let Some(object) = view.object(&referrer) else { continue };
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
    let path = FieldPath::from("spec.validation.caCertificateRefs");
    let good = (0..spec.validation.ca_certificate_refs.len()).filter_map(|index| {
        let edge = view.reference(&policy.id, path.index(index).as_str())?;
        match (&edge.target, edge.verdict) {
            (Target::Object(id), Verdict::Allowed) if super::secret::authority_problem(id, view).is_none() => {
                Some(id.clone())
            }
            _ => None,
        }
    });
    let good: Vec<_> = good.collect();
    (!good.is_empty()).then_some(SecretId::Authorities(good))
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
