//! Certificates and authorities, always by SDS: never inside the resource that uses them.

use kinds::core::{ConfigMap, Secret as KubeSecret};
use kinds::{Kind, ObjectId};
use xds_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, GenericSecret, Secret, TlsCertificate, secret::Type,
};
use xds_api::{Resource, ResourceType};

use crate::engine::{Outcome, Product, View};
use crate::names::SecretId;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";

pub(crate) fn evaluate(id: &SecretId, view: &View<'_>) -> Outcome {
    let content = match id {
        SecretId::Certificate(object) => certificate(object, view),
        SecretId::Authorities(objects) => authorities(objects, view),
        SecretId::Generic(object, key) => generic(object, key, view),
        SecretId::SystemAuthorities => Some(system(&view.options.system_roots)),
        SecretId::ApiKey(object, key) => api_key(object, key, view),
    };
    let Some(content) = content else { return Outcome::default() };
    let name = id.to_string();
    let secret = Secret { name: name.clone(), r#type: Some(content) };
    Product::Resource(Resource::encode(ResourceType::Secret, &name, &secret)).into()
}

fn certificate(id: &ObjectId, view: &View<'_>) -> Option<Type> {
    let secret = view.spec::<KubeSecret>(id)?;
    Some(Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(bytes(secret.get(CERTIFICATE)?)),
        private_key: Some(bytes(secret.get(KEY)?)),
        ..TlsCertificate::default()
    }))
}

fn generic(id: &ObjectId, key: &str, view: &View<'_>) -> Option<Type> {
    let content = view.spec::<KubeSecret>(id)?.get(key)?;
    let trimmed = content.trim_ascii_end();
    Some(Type::GenericSecret(GenericSecret { secret: Some(bytes(trimmed)), ..GenericSecret::default() }))
}

/// The key by itself: the filter that sends it knows what stands before it.
fn api_key(id: &ObjectId, key: &str, view: &View<'_>) -> Option<Type> {
    let value = view.spec::<KubeSecret>(id)?.get(key)?.trim_ascii();
    let value = value.strip_prefix(b"Bearer ").unwrap_or(value).trim_ascii();
    (!value.is_empty())
        .then(|| Type::GenericSecret(GenericSecret { secret: Some(bytes(value)), ..GenericSecret::default() }))
}

fn authorities(ids: &[ObjectId], view: &View<'_>) -> Option<Type> {
    let mut pem = Vec::new();
    for id in ids {
        pem.extend(authority(id, view)?);
        if !pem.ends_with(b"\n") {
            pem.push(b'\n');
        }
    }
    Some(Type::ValidationContext(CertificateValidationContext {
        trusted_ca: Some(bytes(&pem)),
        ..CertificateValidationContext::default()
    }))
}

fn system(path: &str) -> Type {
    let file = DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..DataSource::default() };
    Type::ValidationContext(CertificateValidationContext { trusted_ca: Some(file), ..Default::default() })
}

fn authority(id: &ObjectId, view: &View<'_>) -> Option<Vec<u8>> {
    content(id, AUTHORITIES, view)
}

/// An entry of a Secret or a ConfigMap.
pub(crate) fn content(id: &ObjectId, key: &str, view: &View<'_>) -> Option<Vec<u8>> {
    match id.kind {
        Kind::Secret => view.spec::<KubeSecret>(id)?.get(key).map(<[u8]>::to_vec),
        Kind::ConfigMap => view.spec::<ConfigMap>(id)?.get(key).map(<[u8]>::to_vec),
        _ => None,
    }
}

pub(crate) fn bytes(content: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(content.to_vec())), ..DataSource::default() }
}

/// What is wrong with a Secret as a certificate: Envoy would refuse it, and the listener with it.
pub(crate) fn certificate_problem(id: &ObjectId, view: &View<'_>) -> Option<String> {
    let Some(secret) = view.spec::<KubeSecret>(id) else { return Some("is not a Secret".to_owned()) };
    for (key, label) in [(CERTIFICATE, "CERTIFICATE"), (KEY, "PRIVATE KEY")] {
        let Some(content) = secret.get(key) else { return Some(format!("has no data key {key}")) };
        if !is_pem(content, label) {
            return Some(format!("data key {key} holds no PEM block {label}"));
        }
    }
    None
}

pub(crate) fn authority_problem(id: &ObjectId, view: &View<'_>) -> Option<String> {
    match authority(id, view) {
        None => Some(format!("has no data key {AUTHORITIES}")),
        Some(content) if !is_pem(&content, "CERTIFICATE") => {
            Some(format!("data key {AUTHORITIES} holds no PEM block CERTIFICATE"))
        }
        Some(_) => None,
    }
}

fn is_pem(content: &[u8], label: &str) -> bool {
    let text = String::from_utf8_lossy(content);
    let begin =
        text.find("-----BEGIN ").filter(|at| text[*at..].lines().next().is_some_and(|line| line.contains(label)));
    begin.is_some() && text.contains("-----END ")
}
