//! Quantities as Kubernetes writes them: `50Mi`, `32768`, `1k`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// An amount of bytes, or of whatever the field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub u64);

const SUFFIXES: [(&str, u64); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

impl Quantity {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
        let (number, factor) = suffix.unwrap_or((text, 1));
        match number.split_once('.') {
            None => Some(Self(number.parse::<u64>().ok()?.checked_mul(factor)?)),
            Some((whole, part)) if part.len() <= 9 && !part.is_empty() => {
                let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
                let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
                let part = u128::from(part.parse::<u64>().ok()?) * u128::from(factor) / u128::from(scale);
                Some(Self(whole.checked_add(u64::try_from(part).ok()?)?))
            }
            Some(_) => None,
        }
    }

    /// The amount, or the most that a 32-bit field of Envoy can say.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(SmolStr),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => Self::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is not a quantity: write a number, or one as in 50Mi"))
            }),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn quantities() {
        let value = |text| Quantity::parse(text).map(|quantity| quantity.0);
        assert_eq!(value("50Mi"), Some(50 << 20));
        assert_eq!(value("32768"), Some(32768));
        assert_eq!(value("1.5k"), Some(1500));
        for bad in ["", "Mi", "1x", "-1", "1.", "99999999999Ei"] {
            assert_eq!(value(bad), None, "{bad}");
        }
    }
}
