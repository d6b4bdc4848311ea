//! GatewayConfig: what holds for all AI routes of a Gateway.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use super::LlmRequestCost;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfigSpec {
    /// Settings of a process that does not exist here.
    #[serde(default)]
    pub ext_proc: Option<Value>,
    #[serde(default, rename = "globalLLMRequestCosts")]
    pub global_llm_request_costs: Vec<LlmRequestCost>,
    #[serde(default)]
    pub forward_proxy: Option<ForwardProxy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardProxy {
    pub address: SmolStr,
}
