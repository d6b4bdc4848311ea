//! Secret. Its contents are never printed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use smol_str::SmolStr;

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    pub kind: Option<SmolStr>,
    data: BTreeMap<SmolStr, Vec<u8>>,
}

impl Secret {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(Vec::as_slice)
    }

    #[must_use]
    pub fn keys(&self) -> Vec<&SmolStr> {
        self.data.keys().collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).field("keys", &self.keys()).finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            #[serde(default, rename = "type")]
            kind: Option<SmolStr>,
            #[serde(default)]
            data: BTreeMap<SmolStr, String>,
            #[serde(default)]
            string_data: BTreeMap<SmolStr, String>,
        }

        let written = Written::deserialize(deserializer)?;
        let mut data = BTreeMap::new();
        for (key, value) in written.data {
            let compact: String = value.split_ascii_whitespace().collect();
            let bytes =
                STANDARD.decode(compact).map_err(|_| D::Error::custom(format!("data key {key} is not base64")))?;
            data.insert(key, bytes);
        }
        // What is written in the clear wins, as the API server has it.
        data.extend(written.string_data.into_iter().map(|(key, value)| (key, value.into_bytes())));
        Ok(Self { kind: written.kind, data })
    }
}
