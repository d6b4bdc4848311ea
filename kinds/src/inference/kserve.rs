//! KServe's services, as far as what they stand for can be reached: the Services and pools that KServe makes of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceServiceSpec {
    #[serde(default)]
    pub predictor: Predictor,
    #[serde(default)]
    pub transformer: Option<Value>,
    #[serde(default)]
    pub explainer: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predictor {
    #[serde(default)]
    pub model: Option<PredictorModel>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictorModel {
    #[serde(default)]
    pub resources: Resources,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    #[serde(default)]
    pub limits: BTreeMap<SmolStr, Value>,
    #[serde(default)]
    pub requests: BTreeMap<SmolStr, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmInferenceServiceSpec {
    #[serde(default)]
    pub model: Option<Value>,
    #[serde(default)]
    pub router: Option<LlmRouter>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmRouter {
    #[serde(default)]
    pub scheduler: Option<Value>,
    #[serde(default)]
    pub route: Option<Value>,
    #[serde(default)]
    pub gateway: Option<Value>,
}
