//! The APIs that clients speak: the table of their paths.

use kinds::ai::{ApiName, ApiSchema};

/// A family of APIs: a server that speaks it understands its bodies as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
    Cohere,
}

impl Api {
    pub(crate) const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Cohere];

    /// The value of the header by which routes tell the families apart.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Cohere => "cohere",
        }
    }
}

/// One path of an API, and what of it stands behind a provider's prefix.
pub(crate) struct Endpoint {
    pub path: &'static str,
    pub api: Api,
    pub rest: &'static str,
}

const fn endpoint(path: &'static str, api: Api, rest: &'static str) -> Endpoint {
    Endpoint { path, api, rest }
}

/// The paths whose body names a model.
pub(crate) const ENDPOINTS: [Endpoint; 14] = [
    endpoint("/v1/chat/completions", Api::OpenAi, "/chat/completions"),
    endpoint("/v1/completions", Api::OpenAi, "/completions"),
    endpoint("/v1/embeddings", Api::OpenAi, "/embeddings"),
    endpoint("/v1/responses", Api::OpenAi, "/responses"),
    endpoint("/v1/responses/input_tokens", Api::OpenAi, "/responses/input_tokens"),
    endpoint("/v1/audio/speech", Api::OpenAi, "/audio/speech"),
    endpoint("/v1/audio/transcriptions", Api::OpenAi, "/audio/transcriptions"),
    endpoint("/v1/audio/translations", Api::OpenAi, "/audio/translations"),
    endpoint("/v1/images/generations", Api::OpenAi, "/images/generations"),
    // The path of a server beside its prefix: two steps up lead out of it.
    endpoint("/tokenize", Api::OpenAi, "/../tokenize"),
    endpoint("/cohere/v2/rerank", Api::Cohere, "/rerank"),
    endpoint("/anthropic/v1/messages", Api::Anthropic, "/messages"),
    endpoint("/anthropic/v1/messages/count_tokens", Api::Anthropic, "/messages/count_tokens"),
    // Clients that know nothing of a gateway use Anthropic's own path.
    endpoint("/v1/messages", Api::Anthropic, "/messages"),
];

/// The path that lists models, and the form in which its readers want the list.
pub(crate) const LISTS: [(&str, Api); 2] = [("/v1/models", Api::OpenAi), ("/anthropic/v1/models", Api::Anthropic)];

/// The families that a server of a schema understands without translation, and the path it wants.
pub(crate) fn spoken(schema: &ApiSchema) -> Result<(&'static [Api], String), String> {
    let prefix = |default: &str| format!("/{}{{rest}}", schema.prefix.as_deref().unwrap_or(default)).replace("//", "/");
    match schema.name {
        ApiName::OpenAI => Ok((&[Api::OpenAi], prefix("v1"))),
        ApiName::Anthropic => Ok((&[Api::Anthropic], prefix("v1"))),
        ApiName::Cohere => Ok((&[Api::Cohere], format!("/{}{{rest}}", schema.version.as_deref().unwrap_or("v2")))),
        ApiName::AzureOpenAI => {
            let version = schema.version.as_deref().unwrap_or("2025-01-01-preview");
            Ok((&[Api::OpenAi], format!("/openai/deployments/{{model}}{{rest}}?api-version={version}")))
        }
        ApiName::AWSBedrock | ApiName::AWSAnthropic | ApiName::GCPVertexAI | ApiName::GCPAnthropic => Err(format!(
            "requests would have to be translated to the API {}, which Envoy's own filters cannot do",
            schema.name.name()
        )),
    }
}
