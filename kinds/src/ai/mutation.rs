//! What a backend wants changed about the requests that it gets.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeaderMutation {
    #[serde(default)]
    pub set: Vec<HeaderValue>,
    #[serde(default)]
    pub remove: Vec<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValue {
    pub name: SmolStr,
    pub value: SmolStr,
}

/// Fields at the top of the JSON body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBodyMutation {
    #[serde(default)]
    pub set: Vec<BodyField>,
    #[serde(default)]
    pub remove: Vec<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyField {
    pub path: SmolStr,
    /// A JSON value, written as text.
    pub value: String,
}
