//! Backend: endpoints outside the cluster, by address or by name.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::shared::{SecretRef, TlsParameters};
use crate::gateway::{LocalObjectReference, WellKnownCaCertificates};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendSpec {
    #[serde(default, rename = "type")]
    pub kind: BackendType,
    #[serde(default)]
    pub endpoints: Vec<BackendEndpoint>,
    #[serde(default)]
    pub app_protocols: Vec<SmolStr>,
    #[serde(default)]
    pub fallback: Option<bool>,
    #[serde(default)]
    pub tls: Option<BackendTls>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendType {
    #[default]
    Endpoints,
    DynamicResolver,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendEndpoint {
    #[serde(default)]
    pub hostname: Option<SmolStr>,
    #[serde(default)]
    pub fqdn: Option<FqdnEndpoint>,
    #[serde(default)]
    pub ip: Option<IpEndpoint>,
    #[serde(default)]
    pub unix: Option<UnixEndpoint>,
    #[serde(default)]
    pub zone: Option<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FqdnEndpoint {
    pub hostname: SmolStr,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpEndpoint {
    pub address: SmolStr,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnixEndpoint {
    pub path: SmolStr,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    #[serde(default)]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    #[serde(default, rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<WellKnownCaCertificates>,
    #[serde(default)]
    pub insecure_skip_verify: Option<bool>,
    #[serde(default)]
    pub sni: Option<SmolStr>,
    #[serde(default, rename = "autoSNIFromEndpointHostname")]
    pub auto_sni_from_endpoint_hostname: Option<bool>,
    #[serde(default)]
    pub client_certificate_ref: Option<SecretRef>,
    #[serde(flatten)]
    pub parameters: TlsParameters,
}

impl BackendEndpoint {
    /// The name that a server there goes by, where it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.hostname.as_deref().or_else(|| self.fqdn.as_ref().map(|fqdn| fqdn.hostname.as_str()))
    }
}
