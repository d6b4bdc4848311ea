//! EnvoyExtensionPolicy: external processors and scripts in the path of requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::gateway::{BackendRef, Duration, LocalObjectReference, LocalPolicyTargetReference};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyExtensionPolicySpec {
    #[serde(default)]
    pub target_ref: Option<LocalPolicyTargetReference>,
    #[serde(default)]
    pub target_refs: Vec<LocalPolicyTargetReference>,
    #[serde(default)]
    pub ext_proc: Vec<ExtProc>,
    #[serde(default)]
    pub lua: Vec<LuaScript>,
    #[serde(default)]
    pub wasm: Vec<Value>,
}

impl EnvoyExtensionPolicySpec {
    /// The targets, in whichever of the two fields they are written.
    pub fn targets(&self) -> impl Iterator<Item = &LocalPolicyTargetReference> {
        self.target_ref.iter().chain(&self.target_refs)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProc {
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    #[serde(default)]
    pub message_timeout: Option<Duration>,
    #[serde(default)]
    pub fail_open: Option<bool>,
    #[serde(default)]
    pub processing_mode: Option<ExtProcMode>,
    #[serde(default)]
    pub metadata: Option<ExtProcMetadata>,
    /// What it says is not heeded.
    #[serde(default)]
    pub shadow_mode: bool,
    /// The answer to a request whose processor failed.
    #[serde(default)]
    pub status_on_error: Option<u16>,
}

/// The namespaces of metadata that a processor is shown, and those that it may write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProcMetadata {
    #[serde(default)]
    pub accessible_namespaces: Vec<SmolStr>,
    #[serde(default)]
    pub writable_namespaces: Vec<SmolStr>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProcMode {
    #[serde(default)]
    pub request: Option<ExtProcPart>,
    #[serde(default)]
    pub response: Option<ExtProcPart>,
    #[serde(default)]
    pub allow_mode_override: bool,
}

/// Headers are sent wherever a part is named at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProcPart {
    #[serde(default)]
    pub body: Option<SmolStr>,
    #[serde(default)]
    pub attributes: Vec<SmolStr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LuaScript {
    #[serde(default, rename = "type")]
    pub kind: Option<SmolStr>,
    #[serde(default)]
    pub inline: Option<String>,
    #[serde(default)]
    pub value_ref: Option<LocalObjectReference>,
}
