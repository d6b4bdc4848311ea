//! Backend: of type AI, a provider of models; of type Static, hosts.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KgatewayBackendSpec {
    #[serde(default, rename = "type")]
    pub kind: Option<SmolStr>,
    #[serde(default)]
    pub ai: Option<AiBackend>,
    #[serde(default, rename = "static")]
    pub hosts: Option<StaticBackend>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticBackend {
    #[serde(default)]
    pub hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    pub host: SmolStr,
    pub port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "WrittenAi")]
pub struct AiBackend {
    /// Providers in the order in which one takes over from the other; those of one group share its requests.
    pub groups: Vec<Vec<Llm>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Llm {
    /// Under `provider` at first, beside the rest later.
    #[serde(default)]
    pub provider: Option<Provider>,
    #[serde(flatten)]
    pub inline: Provider,
    #[serde(default)]
    pub host_override: Option<Host>,
    #[serde(default)]
    pub host: Option<SmolStr>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub path_override: Option<PathOverride>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathOverride {
    #[serde(default)]
    pub full_path: Option<SmolStr>,
}

impl Llm {
    #[must_use]
    pub fn provider(&self) -> &Provider {
        self.provider.as_ref().unwrap_or(&self.inline)
    }

    /// The server, when the provider's own is not meant.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        let flat = self.host.clone().zip(self.port).map(|(host, port)| Host { host, port });
        self.host_override.clone().or(flat)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub struct Provider {
    #[serde(default)]
    pub openai: Option<ProviderSettings>,
    #[serde(default)]
    pub azureopenai: Option<ProviderSettings>,
    #[serde(default)]
    pub anthropic: Option<ProviderSettings>,
    #[serde(default)]
    pub gemini: Option<ProviderSettings>,
    #[serde(default)]
    pub vertexai: Option<ProviderSettings>,
    #[serde(default)]
    pub bedrock: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSettings {
    #[serde(default)]
    pub auth_token: Option<AuthToken>,
    #[serde(default)]
    pub model: Option<SmolStr>,
    #[serde(default)]
    pub endpoint: Option<SmolStr>,
    #[serde(default)]
    pub deployment_name: Option<SmolStr>,
    #[serde(default)]
    pub api_version: Option<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthToken {
    pub kind: AuthTokenKind,
    #[serde(default)]
    pub secret_ref: Option<SecretName>,
    #[serde(default)]
    pub inline: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthTokenKind {
    Inline,
    SecretRef,
    Passthrough,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    pub name: SmolStr,
    #[serde(default)]
    pub namespace: Option<SmolStr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAi {
    #[serde(default)]
    llm: Option<Llm>,
    #[serde(default)]
    multipool: Option<Multipool>,
    #[serde(default)]
    priority_groups: Vec<PriorityGroup>,
}

#[derive(Deserialize)]
struct Multipool {
    #[serde(default)]
    priorities: Vec<Pool>,
}

#[derive(Deserialize)]
struct Pool {
    #[serde(default)]
    pool: Vec<Llm>,
}

#[derive(Deserialize)]
struct PriorityGroup {
    #[serde(default)]
    providers: Vec<Llm>,
}

impl From<WrittenAi> for AiBackend {
    fn from(written: WrittenAi) -> Self {
        let mut groups: Vec<Vec<Llm>> = written.llm.into_iter().map(|llm| vec![llm]).collect();
        groups.extend(written.multipool.into_iter().flat_map(|multipool| multipool.priorities).map(|pool| pool.pool));
        groups.extend(written.priority_groups.into_iter().map(|group| group.providers));
        groups.retain(|group| !group.is_empty());
        Self { groups }
    }
}
