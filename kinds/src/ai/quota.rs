//! QuotaPolicy: how many tokens a backend may be asked for.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::envoy_gateway::RateLimitSelector;
use crate::gateway::LocalPolicyTargetReference;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaPolicySpec {
    #[serde(default)]
    pub target_refs: Vec<LocalPolicyTargetReference>,
    #[serde(default)]
    pub service_quota: Option<ServiceQuota>,
    #[serde(default)]
    pub per_model_quotas: Vec<PerModelQuota>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceQuota {
    #[serde(default)]
    pub cost_expression: Option<String>,
    #[serde(default)]
    pub quota: Option<QuotaValue>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaValue {
    pub limit: u64,
    pub duration: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerModelQuota {
    pub model_name: SmolStr,
    #[serde(default)]
    pub quota: ModelQuota,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelQuota {
    #[serde(default)]
    pub cost_expression: Option<String>,
    #[serde(default)]
    pub mode: Option<SmolStr>,
    #[serde(default)]
    pub default_bucket: Option<QuotaValue>,
    #[serde(default)]
    pub bucket_rules: Vec<BucketRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketRule {
    #[serde(default)]
    pub client_selectors: Vec<RateLimitSelector>,
    #[serde(default)]
    pub quota: Option<QuotaValue>,
    #[serde(default)]
    pub shadow_mode: Option<bool>,
}
