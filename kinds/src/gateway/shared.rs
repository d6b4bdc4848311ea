//! What several kinds of Gateway API share.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

pub const GROUP: &str = "gateway.networking.k8s.io";

fn group() -> SmolStr {
    SmolStr::new_static(GROUP)
}

fn gateway() -> SmolStr {
    SmolStr::new_static("Gateway")
}

fn service() -> SmolStr {
    SmolStr::new_static("Service")
}

fn secret() -> SmolStr {
    SmolStr::new_static("Secret")
}

fn one() -> u32 {
    1
}

/// What a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    #[serde(default = "group")]
    pub group: SmolStr,
    #[serde(default = "gateway")]
    pub kind: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<SmolStr>,
    pub name: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Where requests go, with a share of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    #[serde(default)]
    pub group: SmolStr,
    #[serde(default = "service")]
    pub kind: SmolStr,
    pub name: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default = "one")]
    pub weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretObjectReference {
    #[serde(default)]
    pub group: SmolStr,
    #[serde(default = "secret")]
    pub kind: SmolStr,
    pub name: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<SmolStr>,
}

/// A reference that says its kind, and perhaps another namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    #[serde(default)]
    pub group: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<SmolStr>,
}

/// A reference within the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    #[serde(default)]
    pub group: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
}

/// What a policy is about, or a section of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalPolicyTargetReference {
    #[serde(default)]
    pub group: SmolStr,
    pub kind: SmolStr,
    pub name: SmolStr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<SmolStr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(default)]
    pub match_labels: BTreeMap<SmolStr, SmolStr>,
    #[serde(default)]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    pub key: SmolStr,
    pub operator: SmolStr,
    #[serde(default)]
    pub values: Vec<SmolStr>,
}

impl LabelSelector {
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// A duration as Gateway API writes it: `1h`, `90s`, `1m30s`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub StdDuration);

impl Duration {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut total = StdDuration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
            let (number, unit) = rest.split_at(digits);
            let number: u64 = number.parse().ok()?;
            let (part, length) = if unit.starts_with("ms") {
                (StdDuration::from_millis(number), 2)
            } else if unit.starts_with('h') {
                (StdDuration::from_secs(number.checked_mul(3600)?), 1)
            } else if unit.starts_with('m') {
                (StdDuration::from_secs(number.checked_mul(60)?), 1)
            } else if unit.starts_with('s') {
                (StdDuration::from_secs(number), 1)
            } else {
                return None;
            };
            total = total.checked_add(part)?;
            rest = &unit[length..];
        }
        (!text.is_empty()).then_some(Self(total))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SmolStr::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is not a duration: write hours, minutes, seconds as in 1h30m or 250ms"
            ))
        })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    #[serde(default)]
    pub session_name: Option<SmolStr>,
    #[serde(default)]
    pub absolute_timeout: Option<Duration>,
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
    #[serde(default, rename = "type")]
    pub kind: SessionPersistenceType,
    #[serde(default)]
    pub cookie_config: Option<CookieConfig>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionPersistenceType {
    #[default]
    Cookie,
    Header,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieConfig {
    #[serde(default)]
    pub lifetime_type: CookieLifetimeType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetimeType {
    #[default]
    Session,
    Permanent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text| Duration::parse(text).map(|d| d.0.as_millis());
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("0s"), Some(0));
        for bad in ["", "5", "s", "1.5s", "1d", "-1s"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
