//! EnvoyPatchPolicy: changes to rendered resources, by those who know Envoy's own names.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::gateway::LocalPolicyTargetReference;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyPatchPolicySpec {
    #[serde(default = "json_patch", rename = "type")]
    pub kind: SmolStr,
    #[serde(default)]
    pub json_patches: Vec<EnvoyJsonPatch>,
    pub target_ref: LocalPolicyTargetReference,
    /// Lower first.
    #[serde(default)]
    pub priority: i32,
}

fn json_patch() -> SmolStr {
    SmolStr::new_static("JSONPatch")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyJsonPatch {
    /// The type URL of the resource.
    #[serde(rename = "type")]
    pub kind: SmolStr,
    pub name: SmolStr,
    pub operation: JsonPatchOperation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonPatchOperation {
    pub op: PatchOp,
    /// A JSON pointer; behind what `jsonPath` finds where that is given.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub json_path: Option<String>,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchOp {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}
