//! InferencePool: the servers that a selector names, and who picks among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct InferencePoolSpec {
    pub selector: BTreeMap<SmolStr, SmolStr>,
    /// Each server is an endpoint for each of these.
    pub target_ports: Vec<u16>,
    pub app_protocol: Option<SmolStr>,
    pub endpoint_picker: Option<EndpointPickerRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPickerRef {
    pub group: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
    pub port: Option<u16>,
    pub failure_mode: FailureMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureMode {
    FailOpen,
    #[default]
    FailClose,
}

/// The stable form and the one before it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    selector: WrittenSelector,
    #[serde(default)]
    target_ports: Vec<PortNumber>,
    #[serde(default)]
    target_port_number: Option<u16>,
    #[serde(default)]
    app_protocol: Option<SmolStr>,
    #[serde(default)]
    endpoint_picker_ref: Option<WrittenPicker>,
    #[serde(default)]
    extension_ref: Option<WrittenPicker>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenSelector {
    Stable {
        #[serde(rename = "matchLabels")]
        match_labels: BTreeMap<SmolStr, SmolStr>,
    },
    Older(BTreeMap<SmolStr, SmolStr>),
}

impl Default for WrittenSelector {
    fn default() -> Self {
        Self::Older(BTreeMap::new())
    }
}

#[derive(Deserialize)]
struct PortNumber {
    number: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPicker {
    #[serde(default)]
    group: SmolStr,
    #[serde(default)]
    kind: Option<SmolStr>,
    name: SmolStr,
    #[serde(default)]
    port: Option<PortNumber>,
    #[serde(default)]
    port_number: Option<u16>,
    #[serde(default)]
    failure_mode: FailureMode,
}

/// The port of a picker whose reference names none, as the older form had it.
const PICKER_PORT: u16 = 9002;

impl From<Written> for InferencePoolSpec {
    fn from(written: Written) -> Self {
        let stable = written.endpoint_picker_ref.map(|picker| (picker, None));
        let older = written.extension_ref.map(|picker| (picker, Some(PICKER_PORT)));
        let picker = stable.or(older).map(|(picker, port)| EndpointPickerRef {
            group: picker.group,
            kind: picker.kind.unwrap_or(SmolStr::new_static("Service")),
            name: picker.name,
            port: picker.port.map(|port| port.number).or(picker.port_number).or(port),
            failure_mode: picker.failure_mode,
        });
        let mut target_ports: Vec<u16> = written.target_ports.iter().map(|port| port.number).collect();
        target_ports.extend(written.target_port_number);
        let selector = match written.selector {
            WrittenSelector::Stable { match_labels } => match_labels,
            WrittenSelector::Older(labels) => labels,
        };
        Self { selector, target_ports, app_protocol: written.app_protocol, endpoint_picker: picker }
    }
}
