//! ListenerSet: listeners that somebody else adds to a Gateway.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Listener, ParentReference};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    pub parent_ref: ParentReference,
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

impl ListenerSetSpec {
    #[must_use]
    pub fn listener(&self, name: &SmolStr) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == *name)
    }
}
