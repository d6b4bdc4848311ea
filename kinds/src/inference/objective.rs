//! InferenceObjective: how urgent requests are. An endpoint picker reads it; Envoy has nothing to do with it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceObjectiveSpec {
    #[serde(default)]
    pub priority: Option<i32>,
    #[serde(default)]
    pub pool_ref: Option<PoolReference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolReference {
    #[serde(default = "group")]
    pub group: SmolStr,
    #[serde(default = "kind")]
    pub kind: SmolStr,
    pub name: SmolStr,
}

fn group() -> SmolStr {
    SmolStr::new_static(super::GROUP)
}

fn kind() -> SmolStr {
    SmolStr::new_static("InferencePool")
}
