//! What the proxies of a Gateway show to backends, and which parameters they offer: the Gateway's own certificate before
//! that of its EnvoyProxy.

use kinds::envoy_gateway::EnvoyProxySpec;
use kinds::{FieldPath, ObjectId};
use xds_api::envoy::extensions::transport_sockets::tls::v3::CommonTlsContext;

use super::{Proxy, chain_for};
use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::names::SecretId;
use crate::policy::client::tls::parameters;
use crate::render::downstream_tls::sds;

/// Puts it on the TLS context of a backend; returns the certificate.
pub(crate) fn apply(gateway: &ObjectId, context: &mut CommonTlsContext, view: &View<'_>) -> Option<SecretId> {
    let chain = chain_for(gateway, view);
    let proxy = chain.as_ref().and_then(|chain| Proxy::read(chain, view));
    let written = proxy.as_ref().and_then(|proxy| proxy.spec.backend_tls.as_ref());
    if let Some(written) = written {
        parameters(&written.parameters, context.tls_params.get_or_insert_default());
        context.alpn_protocols.extend(written.parameters.alpn_protocols.iter().map(ToString::to_string));
    }
    let certificate = of_gateway(gateway, view).or_else(|| of_proxy(proxy.as_ref()?))?;
    let id = SecretId::Certificate(certificate);
    context.tls_certificate_sds_secret_configs = vec![sds(&id)];
    Some(id)
}

fn of_gateway(gateway: &ObjectId, view: &View<'_>) -> Option<ObjectId> {
    let edge = view.reference(gateway, "spec.tls.backend.clientCertificateRef")?;
    match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => usable(id, view),
        _ => None,
    }
}

fn of_proxy(proxy: &Proxy<'_>) -> Option<ObjectId> {
    let reference = certificate_ref(&proxy.spec)?;
    let path = FieldPath::from("spec.backendTLS.clientCertificateRef");
    let id = proxy.object(&path, reference).ok()?;
    usable(id, proxy.view())
}

/// A certificate that Envoy would refuse would cost it the cluster.
fn usable(id: &ObjectId, view: &View<'_>) -> Option<ObjectId> {
    crate::render::secret::certificate_problem(id, view).is_none().then(|| id.clone())
}

pub(super) fn certificate_ref(spec: &EnvoyProxySpec) -> Option<&str> {
    Some(spec.backend_tls.as_ref()?.client_certificate_ref.as_ref()?.name.as_str())
}

pub(super) fn problems(proxy: &Proxy<'_>) -> Vec<super::Problem> {
    let mut found = Vec::new();
    let path = FieldPath::from("spec.backendTLS");
    if let Some(name) = certificate_ref(&proxy.spec) {
        let path = path.field("clientCertificateRef");
        match proxy.object(&path, name) {
            Err(problem) => found.push(problem),
            Ok(id) => {
                if let Some(problem) = crate::render::secret::certificate_problem(id, proxy.view()) {
                    found.push(super::Problem::wrong(path, format!("{id} {problem}")));
                }
            }
        }
    }
    let prints = proxy.spec.backend_tls.as_ref().is_some_and(|tls| !tls.parameters.fingerprints.is_empty());
    if prints {
        let message = "fingerprints are taken of clients, not of backends";
        found.push(super::Problem::unsupported(path.field("fingerprints"), message));
    }
    found
}
