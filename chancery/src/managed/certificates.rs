//! Identities of the control plane and of managed Envoys: one authority, certificates that are renewed long before they end.
//!
//! The authority is a Secret in our own namespace, made by whichever replica comes first. Each replica issues its own server
//! certificate; the leader issues one certificate for each Gateway, whose name is `spiffe://chancery/gateway/NAMESPACE/NAME`
//! and which opens that Gateway's configuration and no other.

use std::time::Duration;

use kinds::ObjectId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// The stock rate limit service.
pub(crate) const LIMITS_IDENTITY: &str = "spiffe://chancery/ratelimit";
/// What comes before `NAMESPACE/NAME` in the name of a Gateway's Envoys.
pub(crate) const IDENTITY_PREFIX: &str = "spiffe://chancery/gateway/";

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_LASTS: Duration = DAY.saturating_mul(3650);
const LEAF_LASTS: Duration = DAY.saturating_mul(90);
/// Clocks differ.
const BEFORE_NOW: Duration = Duration::from_secs(3600);

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The authority, as it is kept.
pub(crate) fn new_authority(now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: authority_params(now).self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn authority_params(now: OffsetDateTime) -> CertificateParams {
    // Another name than those it issues to: whoever bears his issuer's name is taken to have signed himself.
    let mut params = params("chancery authority", now, AUTHORITY_LASTS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    pub certificate: String,
}

impl Authority {
    pub(crate) fn load(kept: &Pair) -> Result<Self, rcgen::Error> {
        // Of an authority, what it issues repeats the name and the key alone.
        let issuer = Issuer::new(authority_params(OffsetDateTime::UNIX_EPOCH), KeyPair::from_pem(&kept.key)?);
        Ok(Self { issuer, certificate: kept.certificate.clone() })
    }

    /// For the xDS port, under the names by which Envoys know it.
    pub(crate) fn server(&self, names: &[&str], now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
        let mut params = params("chancery", now, LEAF_LASTS);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// For who connects to us, under a URI.
    pub(crate) fn client(&self, identity: &str, now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
        let mut params = params("chancery client", now, LEAF_LASTS);
        params.subject_alt_names.push(SanType::URI(identity.try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate()?;
        Ok(Pair { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

/// Whether a certificate is for this identity and has more than a third of its time left.
pub(crate) fn still_good(certificate: &str, identity: &str, now: OffsetDateTime) -> bool {
    let Ok((_, leaf)) = parse_x509_pem(certificate.as_bytes()) else { return false };
    let Ok(leaf) = leaf.parse_x509() else { return false };
    let names = leaf.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let named = names.into_iter().flatten().any(|name| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => *name == identity,
        _ => false,
    });
    named && leaf.validity().not_after.to_datetime() - now > LEAF_LASTS / 3
}

pub(crate) fn identity(gateway: &ObjectId) -> String {
    format!("{IDENTITY_PREFIX}{}/{}", gateway.namespace, gateway.name)
}

fn params(name: &str, now: OffsetDateTime, lasts: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    params.distinguished_name = distinguished;
    params.not_before = now - BEFORE_NOW;
    params.not_after = now + lasts;
    params.use_authority_key_identifier_extension = true;
    params
}

#[cfg(test)]
mod tests {
    use kinds::Kind;

    use super::*;

    #[test]
    fn certificates_are_renewed_in_time_and_bound_to_their_gateway() {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::load(&new_authority(now).unwrap()).unwrap();
        let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
        let name = identity(&gateway);
        let pair = authority.client(&name, now).unwrap();
        assert!(still_good(&pair.certificate, &name, now));
        assert!(!still_good(&pair.certificate, &name, now + DAY * 61));
        assert!(!still_good(&pair.certificate, "spiffe://chancery/gateway/other/web", now));
        assert!(!still_good("nothing", &name, now));
        let server = authority.server(&["chancery.example"], now).unwrap();
        assert!(still_good(&server.certificate, "chancery.example", now));
    }
}
