//! BackendSecurityPolicy: the credentials that a backend wants.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::gateway::{LocalPolicyTargetReference, SecretObjectReference};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendSecurityPolicySpec {
    #[serde(default)]
    pub target_refs: Vec<LocalPolicyTargetReference>,
    #[serde(rename = "type")]
    pub kind: CredentialType,
    #[serde(default)]
    pub api_key: Option<SecretCredential>,
    #[serde(default, rename = "azureAPIKey")]
    pub azure_api_key: Option<SecretCredential>,
    #[serde(default, rename = "anthropicAPIKey")]
    pub anthropic_api_key: Option<SecretCredential>,
    #[serde(default)]
    pub aws_credentials: Option<AwsCredentials>,
    #[serde(default)]
    pub azure_credentials: Option<AzureCredentials>,
    #[serde(default)]
    pub gcp_credentials: Option<GcpCredentials>,
    #[serde(default)]
    pub credential_override: Option<CredentialOverride>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialType {
    APIKey,
    AWSCredentials,
    AzureAPIKey,
    AzureCredentials,
    GCPCredentials,
    AnthropicAPIKey,
}

impl CredentialType {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::APIKey => "APIKey",
            Self::AWSCredentials => "AWSCredentials",
            Self::AzureAPIKey => "AzureAPIKey",
            Self::AzureCredentials => "AzureCredentials",
            Self::GCPCredentials => "GCPCredentials",
            Self::AnthropicAPIKey => "AnthropicAPIKey",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretCredential {
    pub secret_ref: SecretObjectReference,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredentials {
    pub region: SmolStr,
    #[serde(default)]
    pub credentials_file: Option<AwsCredentialsFile>,
    #[serde(default)]
    pub oidc_exchange_token: Option<AwsOidcExchangeToken>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredentialsFile {
    pub secret_ref: SecretObjectReference,
    #[serde(default = "default_profile")]
    pub profile: SmolStr,
}

fn default_profile() -> SmolStr {
    SmolStr::new_static("default")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsOidcExchangeToken {
    #[serde(default)]
    pub oidc: Option<Value>,
    #[serde(default)]
    pub aws_role_arn: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureCredentials {
    #[serde(rename = "clientID")]
    pub client_id: SmolStr,
    #[serde(rename = "tenantID")]
    pub tenant_id: SmolStr,
    #[serde(default)]
    pub client_secret_ref: Option<SecretObjectReference>,
    #[serde(default)]
    pub oidc_exchange_token: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GcpCredentials {
    pub project_name: SmolStr,
    pub region: SmolStr,
    #[serde(default)]
    pub credentials_file: Option<Value>,
    #[serde(default)]
    pub workload_identity_federation_config: Option<Value>,
}

/// A credential that a request may bring along.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialOverride {
    #[serde(default)]
    pub from_request_headers: Option<OverrideFromHeaders>,
    #[serde(default)]
    pub from_dynamic_metadata: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverrideFromHeaders {
    #[serde(default)]
    pub header: Option<SmolStr>,
    #[serde(default = "yes")]
    pub fallback_to_configured: bool,
}

fn yes() -> bool {
    true
}
