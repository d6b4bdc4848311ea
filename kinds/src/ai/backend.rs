//! AIServiceBackend: a server of models, and the API that it speaks.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{HttpBodyMutation, HttpHeaderMutation};
use crate::gateway::{BackendRef, HttpRouteTimeouts, LocalObjectReference};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct AiServiceBackendSpec {
    pub schema: ApiSchema,
    /// A Backend, or a Service as the first releases had it.
    pub backend_ref: BackendRef,
    pub header_mutation: Option<HttpHeaderMutation>,
    pub body_mutation: Option<HttpBodyMutation>,
    /// An older place for a rule's timeouts; a rule's own win.
    pub timeouts: Option<HttpRouteTimeouts>,
    /// An older way to name a BackendSecurityPolicy; a policy's own targets win.
    pub backend_security_policy_ref: Option<LocalObjectReference>,
}

/// The API, with the part of its path or query that differs between providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiSchema {
    pub name: ApiName,
    pub version: Option<SmolStr>,
    /// Without slashes around it.
    pub prefix: Option<SmolStr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ApiName {
    OpenAI,
    Cohere,
    AWSBedrock,
    AzureOpenAI,
    GCPVertexAI,
    GCPAnthropic,
    Anthropic,
    AWSAnthropic,
}

impl ApiName {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAI => "OpenAI",
            Self::Cohere => "Cohere",
            Self::AWSBedrock => "AWSBedrock",
            Self::AzureOpenAI => "AzureOpenAI",
            Self::GCPVertexAI => "GCPVertexAI",
            Self::GCPAnthropic => "GCPAnthropic",
            Self::Anthropic => "Anthropic",
            Self::AWSAnthropic => "AWSAnthropic",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema: WrittenSchema,
    backend_ref: BackendRef,
    #[serde(default)]
    header_mutation: Option<HttpHeaderMutation>,
    #[serde(default)]
    body_mutation: Option<HttpBodyMutation>,
    #[serde(default)]
    timeouts: Option<HttpRouteTimeouts>,
    #[serde(default)]
    backend_security_policy_ref: Option<LocalObjectReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSchema {
    name: ApiName,
    #[serde(default)]
    version: Option<SmolStr>,
    #[serde(default)]
    prefix: Option<SmolStr>,
}

impl From<Written> for AiServiceBackendSpec {
    fn from(written: Written) -> Self {
        let WrittenSchema { name, version, prefix } = written.schema;
        let clean = |text: &SmolStr| SmolStr::new(text.trim_matches('/'));
        // Before there was a prefix, the version of an OpenAI API was it.
        let older = if name == ApiName::OpenAI { version.as_ref() } else { None };
        let prefix = prefix.as_ref().or(older).map(clean);
        Self {
            schema: ApiSchema { name, version, prefix },
            backend_ref: written.backend_ref,
            header_mutation: written.header_mutation,
            body_mutation: written.body_mutation,
            timeouts: written.timeouts,
            backend_security_policy_ref: written.backend_security_policy_ref,
        }
    }
}
