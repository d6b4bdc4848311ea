//! GatewayParameters: how the proxies are deployed, which is nobody's business here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    #[serde(default)]
    pub kube: Option<Value>,
}
