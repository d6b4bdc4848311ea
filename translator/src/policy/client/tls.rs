//! What a policy says about the handshake with clients.

use kinds::envoy_gateway::shared::{Fingerprint, SecretRef, TlsParameters, TlsVersion};
use kinds::envoy_gateway::{ClientTrafficPolicySpec, ClientValidation, ClientValidationMode, SubjectAltNames};
use kinds::{FieldPath, ObjectId};
use smol_str::SmolStr;
use xds_api::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use xds_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use xds_api::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use xds_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, DownstreamTlsContext, SubjectAltNameMatcher, TlsParameters as EnvoyTlsParameters,
    downstream_tls_context::SessionTicketKeysType,
};

use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::names::SecretId;
use crate::policy::Problem;
use crate::policy::traffic::string_match;
use crate::render::build::boolean;
use crate::render::downstream_tls::sds;
use crate::render::upstream_tls::nobody;

const VALIDATION: &str = "spec.tls.clientValidation";
const REVOKED: &str = "ca.crl";

pub(super) fn problems(policy: &ObjectId, spec: &ClientTrafficPolicySpec, view: &View<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    let Some(validation) = spec.tls.as_ref().and_then(|tls| tls.client_validation.as_ref()) else { return found };
    let base = FieldPath::from(VALIDATION);
    for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let path = base.field("caCertificateRefs").index(index);
        match object(policy, &path, reference, view) {
            Err(problem) => found.push(problem),
            Ok(id) => {
                if let Some(problem) = crate::render::secret::authority_problem(&id, view) {
                    found.push(Problem::wrong(path, format!("{id} {problem}")));
                }
            }
        }
    }
    for (index, reference) in validation.crl.iter().flat_map(|crl| crl.refs.iter().enumerate()) {
        let path = base.field("crl").field("refs").index(index);
        match object(policy, &path, reference, view) {
            Err(problem) => found.push(problem),
            Ok(id) if crate::render::secret::content(&id, REVOKED, view).is_none() => {
                found.push(Problem::wrong(path, format!("{id} has no data key {REVOKED}")));
            }
            Ok(_) => {}
        }
    }
    for (field, written, fits, wanted) in HASHES {
        for (index, hash) in written(validation).iter().enumerate().filter(|(_, hash)| !fits(hash)) {
            found.push(Problem::wrong(base.field(field).index(index), format!("`{hash}` is not {wanted}")));
        }
    }
    found
}

type Hashes = (&'static str, fn(&ClientValidation) -> &[SmolStr], fn(&str) -> bool, &'static str);

/// By field, the hashes by which certificates are known, and how each is written.
const HASHES: [Hashes; 2] = [
    (
        "certificateHashes",
        |validation| &validation.certificate_hashes,
        is_hexadecimal,
        "a SHA-256 in 64 hexadecimal digits, with or without colons between each two",
    ),
    ("spkiHashes", |validation| &validation.spki_hashes, is_base64, "a SHA-256 in 44 characters of base64"),
];

fn is_hexadecimal(hash: &str) -> bool {
    let digits = |pair: &str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    let plain = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain || (hash.len() == 95 && hash.split(':').all(digits))
}

fn is_base64(hash: &str) -> bool {
    let digit = |digit: u8| digit.is_ascii_alphanumeric() || matches!(digit, b'+' | b'/');
    hash.len() == 44 && hash.strip_suffix('=').is_some_and(|digits| digits.bytes().all(digit))
}

fn object(policy: &ObjectId, path: &FieldPath, written: &SecretRef, view: &View<'_>) -> Result<ObjectId, Problem> {
    match view.reference(policy, path.as_str()).map(|edge| (&edge.target, edge.verdict)) {
        Some((Target::Object(id), Verdict::Allowed)) => Ok(id.clone()),
        Some((target, verdict)) => Err(Problem::wrong(path.clone(), format!("{target}: {}", verdict.words()))),
        None => Err(Problem::wrong(path.clone(), format!("{} cannot be had", written.name))),
    }
}

/// The authorities by which a policy checks certificates of clients.
pub(crate) fn authorities(policy: &ObjectId, spec: &ClientTrafficPolicySpec, view: &View<'_>) -> Option<SecretId> {
    let validation = spec.tls.as_ref()?.client_validation.as_ref()?;
    let base = FieldPath::from(VALIDATION).field("caCertificateRefs");
    let refs = validation.ca_certificate_refs.iter().enumerate();
    let ids: Vec<_> = refs.filter_map(|(index, r)| object(policy, &base.index(index), r, view).ok()).collect();
    (!ids.is_empty()).then_some(SecretId::Authorities(ids))
}

/// Lists of certificates that were revoked.
fn revoked(policy: &ObjectId, validation: &ClientValidation, view: &View<'_>) -> Vec<u8> {
    let base = FieldPath::from(VALIDATION).field("crl").field("refs");
    let mut all = Vec::new();
    for (index, reference) in validation.crl.iter().flat_map(|crl| crl.refs.iter().enumerate()) {
        if let Ok(id) = object(policy, &base.index(index), reference, view) {
            all.extend(crate::render::secret::content(&id, REVOKED, view).unwrap_or_default());
            all.push(b'\n');
        }
    }
    all
}

pub(crate) fn apply(
    policy: &ObjectId,
    spec: &ClientTrafficPolicySpec,
    context: &mut DownstreamTlsContext,
    view: &View<'_>,
) {
    let Some(tls) = &spec.tls else { return };
    let common = context.common_tls_context.get_or_insert_default();
    parameters(&tls.parameters, common.tls_params.get_or_insert_default());
    if !tls.parameters.alpn_protocols.is_empty() {
        common.alpn_protocols = tls.parameters.alpn_protocols.iter().map(ToString::to_string).collect();
    }
    let resumption = tls.session.as_ref().and_then(|session| session.resumption.as_ref());
    context.disable_stateful_session_resumption = resumption.is_none_or(|resumption| resumption.stateful.is_none());
    let stateless = resumption.is_some_and(|resumption| resumption.stateless.is_some());
    context.session_ticket_keys_type =
        (!stateless).then_some(SessionTicketKeysType::DisableStatelessSessionResumption(true));
    let Some(validation) = &tls.client_validation else { return };
    let mode = mode(validation);
    context.require_client_certificate = Some(boolean(requires(mode)));
    let untrusted = matches!(mode, ClientValidationMode::RequireAny | ClientValidationMode::Request);
    let revoked = revoked(policy, validation, view);
    let own = CertificateValidationContext {
        verify_certificate_spki: validation.spki_hashes.iter().map(ToString::to_string).collect(),
        verify_certificate_hash: validation.certificate_hashes.iter().map(ToString::to_string).collect(),
        match_typed_subject_alt_names: validation.subject_alt_names.as_ref().map(names).unwrap_or_default(),
        allow_expired_certificate: validation.allow_expired_certificate.unwrap_or(false),
        trust_chain_verification: if untrusted {
            TrustChainVerification::AcceptUntrusted as i32
        } else {
            TrustChainVerification::VerifyTrustChain as i32
        },
        crl: (!revoked.is_empty()).then(|| crate::render::secret::bytes(&revoked)),
        only_verify_leaf_cert_crl: validation
            .crl
            .as_ref()
            .is_some_and(|crl| crl.only_verify_leaf_certificate == Some(true)),
        ..CertificateValidationContext::default()
    };
    let common = context.common_tls_context.get_or_insert_default();
    common.validation_context_type = Some(match authorities(policy, spec, view) {
        Some(authorities) => ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(own),
            validation_context_sds_secret_config: Some(sds(&authorities)),
            ..CombinedCertificateValidationContext::default()
        }),
        None => ValidationContextType::ValidationContext(own),
    });
}

fn mode(validation: &ClientValidation) -> ClientValidationMode {
    let usual = if validation.optional == Some(true) {
        ClientValidationMode::VerifyIfGiven
    } else {
        ClientValidationMode::RequireAndVerify
    };
    validation.mode.unwrap_or(usual)
}

fn requires(mode: ClientValidationMode) -> bool {
    matches!(mode, ClientValidationMode::RequireAny | ClientValidationMode::RequireAndVerify)
}

/// What is left of a policy that is refused: whoever was to show a certificate cannot, for none is known to be good.
/// Letting everyone in is not what was asked for.
pub(crate) fn apply_refused(spec: &ClientTrafficPolicySpec, context: &mut DownstreamTlsContext) {
    let Some(validation) = spec.tls.as_ref().and_then(|tls| tls.client_validation.as_ref()) else { return };
    context.require_client_certificate = Some(boolean(requires(mode(validation))));
    let common = context.common_tls_context.get_or_insert_default();
    common.validation_context_type = Some(ValidationContextType::ValidationContext(nobody()));
}

pub(crate) fn parameters(written: &TlsParameters, params: &mut EnvoyTlsParameters) {
    let version = |version| match version {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    if let Some(least) = written.min_version {
        params.tls_minimum_protocol_version = version(least) as i32;
    }
    if let Some(most) = written.max_version {
        params.tls_maximum_protocol_version = version(most) as i32;
    }
    params.cipher_suites.extend(written.ciphers.iter().map(ToString::to_string));
    params.ecdh_curves.extend(written.ecdh_curves.iter().map(ToString::to_string));
    params.signature_algorithms.extend(written.signature_algorithms.iter().map(ToString::to_string));
}

/// Which fingerprints of clients are taken: JA3, JA4.
pub(crate) fn fingerprints(spec: Option<&ClientTrafficPolicySpec>) -> (bool, bool) {
    let written = spec.and_then(|spec| spec.tls.as_ref()).map(|tls| tls.parameters.fingerprints.as_slice());
    let has = |wanted| written.is_some_and(|written| written.contains(&wanted));
    (has(Fingerprint::Ja3), has(Fingerprint::Ja4))
}

fn names(written: &SubjectAltNames) -> Vec<SubjectAltNameMatcher> {
    let sorts = [
        (SanType::Dns, &written.dns_names),
        (SanType::Email, &written.email_addresses),
        (SanType::IpAddress, &written.ip_addresses),
        (SanType::Uri, &written.uris),
    ];
    let plain = sorts.into_iter().flat_map(|(sort, names)| names.iter().map(move |name| (sort, name, String::new())));
    let other = written.other_names.iter().map(|name| (SanType::OtherName, &name.value, name.oid.to_string()));
    plain
        .chain(other)
        .map(|(sort, name, oid)| SubjectAltNameMatcher {
            san_type: sort as i32,
            matcher: Some(string_match(name.kind, &name.value)),
            oid,
        })
        .collect()
}
