//! TLS that a Backend asks for itself. A BackendTLSPolicy for it comes first.

use kinds::envoy_gateway::{BackendSpec, BackendTls};
use kinds::gateway::WellKnownCaCertificates;
use kinds::{FieldPath, Object, ObjectId};
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
};

use super::downstream_tls::sds;
use super::upstream_tls::{dns_name, transport_socket};
use crate::engine::{UnitId, View};
use crate::graph::{Target, Verdict};
use crate::names::SecretId;
use crate::policy::client::tls::parameters;
use crate::policy::proxy;

/// What keeps a Backend from being spoken to as it asks: nothing is sent to it then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsProblem {
    pub reason: &'static str,
    pub message: String,
    pub path: FieldPath,
}

pub(crate) fn apply(
    backend: &ObjectId,
    cluster: &mut Cluster,
    gateway: &ObjectId,
    demands: &mut Vec<UnitId>,
    view: &View<'_>,
) {
    let Some(object) = view.object(backend) else { return };
    let Some((written, plan)) = written(object).and_then(|written| Some((written, plan(object, view).ok()?))) else {
        return;
    };
    let mut common = CommonTlsContext::default();
    let of_proxies = proxy::backend_tls::apply(gateway, &mut common, view);
    parameters(&written.parameters, common.tls_params.get_or_insert_default());
    if !written.parameters.alpn_protocols.is_empty() {
        common.alpn_protocols = written.parameters.alpn_protocols.iter().map(ToString::to_string).collect();
    }
    let certificate = plan.certificate.or(of_proxies);
    if let Some(id) = &certificate {
        common.tls_certificate_sds_secret_configs = vec![sds(id)];
    }
    let named = written.sni.as_deref().map(dns_name);
    common.validation_context_type = plan.authorities.as_ref().map(|authorities| {
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(CertificateValidationContext {
                match_typed_subject_alt_names: named.into_iter().collect(),
                ..CertificateValidationContext::default()
            }),
            validation_context_sds_secret_config: Some(sds(authorities)),
            ..CombinedCertificateValidationContext::default()
        })
    });
    let secrets = plan.authorities.iter().chain(&certificate).cloned();
    demands.extend(secrets.map(|id| UnitId::Secret(gateway.clone(), id)));
    // Without a name for all, each endpoint is asked for, and has to prove, its own.
    let by_endpoint = written.sni.is_none();
    cluster.transport_socket = Some(transport_socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: written.sni.as_deref().unwrap_or_default().to_owned(),
        auto_host_sni: by_endpoint,
        auto_sni_san_validation: by_endpoint && plan.authorities.is_some(),
        ..UpstreamTlsContext::default()
    }));
}

/// What is wrong with the TLS of a Backend; none where it asks for none.
pub(crate) fn problem(backend: &Object, view: &View<'_>) -> Option<TlsProblem> {
    written(backend)?;
    plan(backend, view).err()
}

struct Plan {
    /// None where whatever a server shows is good enough.
    authorities: Option<SecretId>,
    certificate: Option<SecretId>,
}

fn written(backend: &Object) -> Option<&BackendTls> {
    backend.spec::<BackendSpec>()?.tls.as_ref()
}

fn plan(backend: &Object, view: &View<'_>) -> Result<Plan, TlsProblem> {
    let base = FieldPath::from("spec.tls");
    let problem = |reason, path: FieldPath, message: String| TlsProblem { reason, message, path };
    let nothing = BackendTls::default();
    let written = written(backend).unwrap_or(&nothing);
    let certificate = match &written.client_certificate_ref {
        None => None,
        Some(_) => {
            let path = base.field("clientCertificateRef");
            let id = referred(backend, &path, view)
                .map_err(|message| problem("InvalidClientCertificateRef", path.clone(), message))?;
            if let Some(wrong) = super::secret::certificate_problem(id, view) {
                return Err(problem("InvalidClientCertificateRef", path, format!("{id}: {wrong}")));
            }
            Some(SecretId::Certificate(id.clone()))
        }
    };
    if written.insecure_skip_verify == Some(true) {
        return Ok(Plan { authorities: None, certificate });
    }
    let authorities = match written.well_known_ca_certificates {
        Some(WellKnownCaCertificates::System) => SecretId::SystemAuthorities,
        Some(WellKnownCaCertificates::Other) => {
            let message = "only the System roots are known here".to_owned();
            return Err(problem("UnsupportedValue", base.field("wellKnownCACertificates"), message));
        }
        None => {
            let mut found = Vec::new();
            for index in 0..written.ca_certificate_refs.len() {
                let path = base.field("caCertificateRefs").index(index);
                let id = referred(backend, &path, view)
                    .map_err(|message| problem("InvalidCACertificateRef", path.clone(), message))?;
                if let Some(wrong) = super::secret::authority_problem(id, view) {
                    return Err(problem("InvalidCACertificateRef", path, format!("{id}: {wrong}")));
                }
                found.push(id.clone());
            }
            // What the API says of TLS without authorities: the roots of the machine.
            if found.is_empty() { SecretId::SystemAuthorities } else { SecretId::Authorities(found) }
        }
    };
    let endpoints = backend.spec::<BackendSpec>().map(|spec| spec.endpoints.as_slice()).unwrap_or_default();
    if written.sni.is_none() && endpoints.iter().any(|endpoint| endpoint.name().is_none()) {
        let message = "an address has no name that a certificate could prove: name the server here, or give each \
                       endpoint a hostname";
        return Err(problem("UnsupportedValue", base.field("sni"), message.to_owned()));
    }
    Ok(Plan { authorities: Some(authorities), certificate })
}

fn referred<'a>(backend: &Object, path: &FieldPath, view: &View<'a>) -> Result<&'a ObjectId, String> {
    match view.reference(&backend.id, path.as_str()).map(|edge| (&edge.target, edge.verdict)) {
        Some((Target::Object(id), Verdict::Allowed)) => Ok(id),
        Some((target, verdict)) => Err(format!("{target}: {}", verdict.words())),
        None => Err("this cannot be referred to".to_owned()),
    }
}
