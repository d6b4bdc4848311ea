//! Identities of the control plane and of managed Envoys: certificates that are renewed long before they end.
//!
//! Each replica issues its own server certificate; the leader issues one certificate for each Gateway, whose name is
//! `spiffe://chancery/gateway/NAMESPACE/NAME` and which opens that Gateway's configuration and no other. By which authority,
//! says [`super::authorities`].

use std::time::Duration;

use kinds::ObjectId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

/// The stock rate limit service.
pub(crate) const LIMITS_IDENTITY: &str = "spiffe://chancery/ratelimit";
/// What comes before `NAMESPACE/NAME` in the name of a Gateway's Envoys.
pub(crate) const IDENTITY_PREFIX: &str = "spiffe://chancery/gateway/";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = HOUR.saturating_mul(24);
/// Clocks differ.
const BEFORE_NOW: Duration = HOUR;

/// How long what is issued lasts. Of everything, the last third is left for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    authority: Duration,
    leaf: Duration,
}

impl Lifetimes {
    /// None where an authority would end before what it issued last.
    pub(crate) fn new(authority: Duration, leaf: Duration) -> Option<Self> {
        let lifetimes = Self { authority, leaf };
        (!leaf.is_zero() && authority / 3 >= leaf + lifetimes.spread()).then_some(lifetimes)
    }

    /// For how long a new authority is only trusted: everybody has to hear of it before it issues.
    pub(super) fn spread(&self) -> Duration {
        DAY.min(self.leaf / 3)
    }

    /// How often it is looked at what is due.
    pub(super) fn look(&self) -> Duration {
        HOUR.min(self.leaf / 9)
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Who issues certificates.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pair: Pair,
    pub made: OffsetDateTime,
    ends: OffsetDateTime,
    /// By which certificates say who issued them.
    key_id: Vec<u8>,
    lifetimes: Lifetimes,
}

impl Authority {
    pub(super) fn new(now: OffsetDateTime, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = authority_params(now, lifetimes.authority).self_signed(&key)?.pem();
        Self::load(Pair { certificate, key: key.serialize_pem() }, lifetimes)
    }

    pub(super) fn load(pair: Pair, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        let (_, pem) = parse_x509_pem(pair.certificate.as_bytes())?;
        let certificate = pem.parse_x509()?;
        let key_id = key_id(&certificate).ok_or_else(|| anyhow::anyhow!("an authority without a key identifier"))?;
        let made = certificate.validity().not_before.to_datetime() + BEFORE_NOW;
        let ends = certificate.validity().not_after.to_datetime();
        // Of an authority, what it issues repeats the name and the key alone.
        let key = KeyPair::from_pem(&pair.key)?;
        let issuer = Issuer::new(authority_params(OffsetDateTime::UNIX_EPOCH, lifetimes.authority), key);
        Ok(Self { issuer, pair, made, ends, key_id, lifetimes })
    }

    /// The time that is left of it, none when it is over.
    pub(super) fn left(&self, now: OffsetDateTime) -> Option<Duration> {
        (self.ends - now).try_into().ok()
    }

    /// Whether it is time for a successor.
    pub(super) fn is_due(&self, now: OffsetDateTime) -> bool {
        self.left(now).is_none_or(|left| left <= self.lifetimes.authority / 3)
    }

    /// For the xDS port, under the names by which Envoys know it.
    pub(super) fn server(&self, names: &[&str], now: OffsetDateTime) -> anyhow::Result<Pair> {
        let mut params = self.leaf("chancery", now);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// For who connects to us, under a URI.
    pub(super) fn client(&self, identity: &str, now: OffsetDateTime) -> anyhow::Result<Pair> {
        let mut params = self.leaf("chancery client", now);
        params.subject_alt_names.push(SanType::URI(identity.try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn leaf(&self, name: &str, now: OffsetDateTime) -> CertificateParams {
        params(name, now, self.lifetimes.leaf)
    }

    fn issue(&self, params: CertificateParams) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        Ok(Pair { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }

    /// Whether a certificate is of this authority, for this identity, and has more than a third of its time left.
    pub(super) fn vouches_for(&self, certificate: &str, identity: &str, now: OffsetDateTime) -> bool {
        let Ok((_, leaf)) = parse_x509_pem(certificate.as_bytes()) else { return false };
        let Ok(leaf) = leaf.parse_x509() else { return false };
        let names = leaf.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
        let named = names.into_iter().flatten().any(|name| match name {
            GeneralName::URI(name) | GeneralName::DNSName(name) => *name == identity,
            _ => false,
        });
        let issued = issuer_of(&leaf).is_some_and(|issuer| issuer == self.key_id);
        named && issued && leaf.validity().not_after.to_datetime() - now > self.lifetimes.leaf / 3
    }
}

fn authority_params(now: OffsetDateTime, lasts: Duration) -> CertificateParams {
    // Another name than those it issues to: whoever bears his issuer's name is taken to have signed himself.
    let mut params = params("chancery authority", now, lasts);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
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

fn key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn issuer_of(leaf: &X509Certificate<'_>) -> Option<Vec<u8>> {
    leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(issuer) => Some(issuer.key_identifier.as_ref()?.0.to_vec()),
        _ => None,
    })
}

pub(crate) fn identity(gateway: &ObjectId) -> String {
    format!("{IDENTITY_PREFIX}{}/{}", gateway.namespace, gateway.name)
}

#[cfg(test)]
mod tests {
    use kinds::Kind;

    use super::*;

    #[test]
    fn certificates_are_renewed_in_time_and_bound_to_their_gateway() {
        let now = OffsetDateTime::now_utc();
        let lifetimes = Lifetimes::new(DAY * 3650, DAY * 90).unwrap();
        let authority = Authority::new(now, lifetimes).unwrap();
        let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
        let name = identity(&gateway);
        let pair = authority.client(&name, now).unwrap();
        assert!(authority.vouches_for(&pair.certificate, &name, now));
        assert!(!authority.vouches_for(&pair.certificate, &name, now + DAY * 61));
        assert!(!authority.vouches_for(&pair.certificate, "spiffe://chancery/gateway/other/web", now));
        assert!(!authority.vouches_for("nothing", &name, now));
        assert!(!Authority::new(now, lifetimes).unwrap().vouches_for(&pair.certificate, &name, now));
        let server = authority.server(&["chancery.example"], now).unwrap();
        assert!(authority.vouches_for(&server.certificate, "chancery.example", now));
    }
}
