//! TLS towards clients.

use kinds::ObjectId;
use kinds::envoy_gateway::ClientTrafficPolicySpec;
use xds_api::any;
use xds_api::envoy::config::core::v3::{TransportSocket, transport_socket};
use xds_api::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use xds_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use xds_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters,
};

use super::build::{boolean, from_ads};
use crate::attach::{ClientValidation, PlannedListener};
use crate::engine::{UnitId, View};
use crate::names::SecretId;
use crate::policy::client::{self, tls};

pub(crate) fn sds(id: &SecretId) -> SdsSecretConfig {
    SdsSecretConfig { name: id.to_string(), sds_config: Some(from_ads()) }
}

/// The units of the secrets that a listener refers to.
pub(crate) fn secrets(gateway: &ObjectId, listener: &PlannedListener, view: &View<'_>) -> Vec<UnitId> {
    let own = client_policy(listener, view).and_then(|(policy, spec)| tls::authorities(policy, spec, view));
    let ids = listener
        .certificates
        .iter()
        .chain(listener.client_validation.iter().map(|validation| &validation.authorities))
        .cloned()
        .chain(own);
    ids.map(|id| UnitId::Secret(gateway.clone(), id)).collect()
}

fn client_policy<'a>(
    listener: &PlannedListener,
    view: &View<'a>,
) -> Option<(&'a ObjectId, &'a ClientTrafficPolicySpec)> {
    Some((client::policy_for(listener, view)?, client::spec_for(&[listener], view)?))
}

pub(crate) fn socket(listener: &PlannedListener, http: bool, view: &View<'_>) -> TransportSocket {
    let alpn: &[&str] = if http { &["h2", "http/1.1"] } else { &[] };
    let mut context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12 as i32,
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: listener.certificates.iter().map(sds).collect(),
            alpn_protocols: alpn.iter().map(|name| (*name).to_owned()).collect(),
            validation_context_type: listener.client_validation.as_ref().map(validation),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: listener
            .client_validation
            .as_ref()
            .filter(|validation| !validation.insecure_fallback)
            .map(|_| boolean(true)),
        ..DownstreamTlsContext::default()
    };
    if let Some(policy) = client::policy_for(listener, view) {
        match client::spec_for(&[listener], view) {
            Some(spec) => tls::apply(policy, spec, &mut context, view),
            None => {
                let refused = view.spec::<ClientTrafficPolicySpec>(policy).into_iter();
                refused.for_each(|spec| tls::apply_refused(spec, &mut context));
            }
        }
    }
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

fn validation(written: &ClientValidation) -> ValidationContextType {
    let authorities = sds(&written.authorities);
    if !written.insecure_fallback {
        return ValidationContextType::ValidationContextSdsSecretConfig(authorities);
    }
    let any = CertificateValidationContext {
        trust_chain_verification: TrustChainVerification::AcceptUntrusted as i32,
        ..CertificateValidationContext::default()
    };
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(any),
        validation_context_sds_secret_config: Some(authorities),
        ..CombinedCertificateValidationContext::default()
    })
}
