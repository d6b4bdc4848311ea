//! GatewayClass.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::ObjectReference;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    pub controller_name: SmolStr,
    #[serde(default)]
    pub parameters_ref: Option<ObjectReference>,
    #[serde(default)]
    pub description: Option<String>,
}
