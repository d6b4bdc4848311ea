//! RateLimitPolicy: a kind that a guide of KubeLB uses, though kgateway never had it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitPolicySpec {
    pub target_ref: RateLimitTarget,
    #[serde(default)]
    pub limits: Vec<RequestLimit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitTarget {
    #[serde(default = "gateway_api")]
    pub group: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
    #[serde(default)]
    pub namespace: Option<SmolStr>,
}

fn gateway_api() -> SmolStr {
    SmolStr::new_static(crate::gateway::GROUP)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLimit {
    pub requests: u64,
    /// In any case: `hour` and `Hour` are the same.
    pub unit: SmolStr,
}
