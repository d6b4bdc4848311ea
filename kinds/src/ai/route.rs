//! AIGatewayRoute: which backends serve which models.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{HttpBodyMutation, HttpHeaderMutation};
use crate::gateway::{Duration, HttpHeaderMatch, HttpRouteTimeouts, ParentReference};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct AiGatewayRouteSpec {
    pub parent_refs: Vec<ParentReference>,
    pub hostnames: Vec<SmolStr>,
    pub rules: Vec<AiRouteRule>,
    pub llm_request_costs: Vec<LlmRequestCost>,
}

/// The route as it may stand in a manifest of any age.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    parent_refs: Vec<ParentReference>,
    /// What `parentRefs` was called at first.
    #[serde(default)]
    target_refs: Vec<ParentReference>,
    #[serde(default)]
    hostnames: Vec<SmolStr>,
    #[serde(default)]
    rules: Vec<AiRouteRule>,
    #[serde(default)]
    llm_request_costs: Vec<LlmRequestCost>,
}

impl From<Written> for AiGatewayRouteSpec {
    fn from(written: Written) -> Self {
        let parent_refs = if written.parent_refs.is_empty() { written.target_refs } else { written.parent_refs };
        Self {
            parent_refs,
            hostnames: written.hostnames,
            rules: written.rules,
            llm_request_costs: written.llm_request_costs,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AiRouteRule {
    #[serde(default)]
    pub name: Option<SmolStr>,
    #[serde(default)]
    pub backend_refs: Vec<AiBackendRef>,
    #[serde(default)]
    pub matches: Vec<AiRouteMatch>,
    #[serde(default)]
    pub timeouts: Option<HttpRouteTimeouts>,
    #[serde(default)]
    pub stream_idle_timeout: Option<Duration>,
    #[serde(default = "owner")]
    pub models_owned_by: SmolStr,
    #[serde(default)]
    pub models_created_at: Option<SmolStr>,
}

fn owner() -> SmolStr {
    SmolStr::new_static("Envoy AI Gateway")
}

/// Headers alone: the paths are those of the APIs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AiRouteMatch {
    #[serde(default)]
    pub headers: Vec<HttpHeaderMatch>,
}

/// An AIServiceBackend, unless it says that it is an InferencePool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AiBackendRef {
    pub name: SmolStr,
    #[serde(default)]
    pub namespace: Option<SmolStr>,
    #[serde(default)]
    pub group: Option<SmolStr>,
    #[serde(default)]
    pub kind: Option<SmolStr>,
    #[serde(default)]
    pub model_name_override: SmolStr,
    #[serde(default)]
    pub header_mutation: Option<HttpHeaderMutation>,
    #[serde(default)]
    pub body_mutation: Option<HttpBodyMutation>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub priority: u32,
}

fn one() -> u32 {
    1
}

impl AiBackendRef {
    /// The group and kind that the reference means.
    #[must_use]
    pub fn target(&self) -> (&str, &str) {
        match (&self.group, &self.kind) {
            (Some(group), Some(kind)) if !kind.is_empty() => (group, kind),
            (None, Some(kind)) if kind == "InferencePool" => ("inference.networking.k8s.io", kind),
            _ => ("aigateway.envoyproxy.io", "AIServiceBackend"),
        }
    }
}

/// A number that is worked out from the tokens of a request and kept in dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmRequestCost {
    pub metadata_key: SmolStr,
    #[serde(rename = "type")]
    pub kind: LlmRequestCostType,
    #[serde(default)]
    pub cel: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LlmRequestCostType {
    InputToken,
    OutputToken,
    CachedInputToken,
    CacheCreationInputToken,
    TotalToken,
    ReasoningToken,
    #[serde(rename = "CEL")]
    Cel,
}
