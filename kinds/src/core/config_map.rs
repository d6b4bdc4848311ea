//! ConfigMap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    #[serde(default)]
    data: BTreeMap<SmolStr, String>,
}

impl ConfigMap {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(String::as_bytes)
    }

    /// The first entry, for whoever takes the only one whatever its name.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.data.values().next().map(String::as_bytes)
    }
}
