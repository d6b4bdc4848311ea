//! EndpointSlice.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    #[serde(default)]
    pub address_type: SmolStr,
    #[serde(default, deserialize_with = "list")]
    pub endpoints: Vec<SliceEndpoint>,
    #[serde(default, deserialize_with = "list")]
    pub ports: Vec<EndpointPort>,
}

/// What the cluster's own controller writes where there are none is `null`.
fn list<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceEndpoint {
    #[serde(default)]
    pub addresses: Vec<SmolStr>,
    #[serde(default)]
    pub conditions: EndpointConditions,
    #[serde(default)]
    pub zone: Option<SmolStr>,
    #[serde(default)]
    pub node_name: Option<SmolStr>,
    #[serde(default)]
    pub target_ref: Option<TargetRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointConditions {
    #[serde(default)]
    pub ready: Option<bool>,
    #[serde(default)]
    pub serving: Option<bool>,
    #[serde(default)]
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    #[serde(default)]
    pub kind: SmolStr,
    #[serde(default)]
    pub name: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    #[serde(default)]
    pub name: Option<SmolStr>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub protocol: Option<SmolStr>,
    #[serde(default)]
    pub app_protocol: Option<SmolStr>,
}

impl SliceEndpoint {
    /// Unknown readiness counts as ready, as the API says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }

    /// On its way out, but still serving what it has.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.conditions.terminating.unwrap_or(false) && self.conditions.serving.unwrap_or(false)
    }
}
