//! A document about to be written: JSON's data model with fields in the order in which they are to be read.

use serde_json::{Map, Number, Value};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doc {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Doc>),
    Map(Vec<(String, Doc)>),
}

impl Doc {
    /// A whole number is written without a fraction; what JSON has no number for is written as Envoy does, as text.
    pub(crate) fn float(value: f64) -> Self {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let negative_zero = value == 0.0 && value.is_sign_negative();
        if value.fract() == 0.0 && value.abs() < EXACT && !negative_zero {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
            return Self::Number(Number::from(value as i64));
        }
        match Number::from_f64(value) {
            Some(number) => Self::Number(number),
            None if value.is_nan() => Self::Text("NaN".to_owned()),
            None if value > 0.0 => Self::Text("Infinity".to_owned()),
            None => Self::Text("-Infinity".to_owned()),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Map(entries) => {
                Value::Object(entries.into_iter().map(|(key, value)| (key, value.into_value())).collect::<Map<_, _>>())
            }
        }
    }
}

impl serde::Serialize for Doc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}
