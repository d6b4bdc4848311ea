//! One value of a scalar kind, from its JSON form to its wire form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::Kind;
use serde_json::Number;

use super::tree::Shape;

/// A value as it travels, without its field number.
pub(super) enum Wire {
    Varint(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
}

impl Wire {
    /// What a field without presence does not send.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) => *value == 0,
            Self::Four(bytes) => bytes.iter().all(|b| *b == 0),
            Self::Eight(bytes) => bytes.iter().all(|b| *b == 0),
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    pub(super) fn write(&self, number: u32, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Varint(_) => WireType::Varint,
            Self::Four(_) => WireType::ThirtyTwoBit,
            Self::Eight(_) => WireType::SixtyFourBit,
            Self::Bytes(_) => WireType::LengthDelimited,
        };
        encode_key(number, kind, out);
        if let Self::Bytes(bytes) = self {
            encode_varint(bytes.len() as u64, out);
        }
        self.write_packed(out);
    }

    pub(super) fn write_packed(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => encode_varint(*value, out),
            Self::Four(bytes) => out.put_slice(bytes),
            Self::Eight(bytes) => out.put_slice(bytes),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
    }
}

/// `None` for a message kind, which is no scalar.
pub(super) fn scalar(kind: &Kind, shape: &Shape) -> Option<Result<Wire, String>> {
    Some(match kind {
        Kind::Message(_) => return None,
        Kind::Bool => match shape {
            Shape::Bool(value) => Ok(Wire::Varint(u64::from(*value))),
            other => Err(expected("true or false", other)),
        },
        Kind::String => match shape {
            Shape::Text(text) => Ok(Wire::Bytes(text.clone().into_bytes())),
            other @ (Shape::Number(_) | Shape::Bool(_)) => {
                Err(format!("expected text, found {}: quote it", other.name()))
            }
            other => Err(expected("text", other)),
        },
        Kind::Bytes => match shape {
            Shape::Text(text) => base64(text).map(Wire::Bytes).ok_or_else(|| "expected base64".to_owned()),
            other => Err(expected("base64 text", other)),
        },
        Kind::Int32 => integer::<i32>(shape).map(|value| Wire::Varint(i64::from(value).cast_unsigned())),
        Kind::Int64 => integer::<i64>(shape).map(|value| Wire::Varint(value.cast_unsigned())),
        Kind::Uint32 => integer::<u32>(shape).map(|value| Wire::Varint(value.into())),
        Kind::Uint64 => integer::<u64>(shape).map(Wire::Varint),
        Kind::Sint32 => {
            integer::<i32>(shape).map(|value| Wire::Varint(((value << 1) ^ (value >> 31)).cast_unsigned().into()))
        }
        Kind::Sint64 => integer::<i64>(shape).map(|value| Wire::Varint(((value << 1) ^ (value >> 63)).cast_unsigned())),
        Kind::Fixed32 => integer::<u32>(shape).map(|value| Wire::Four(value.to_le_bytes())),
        Kind::Sfixed32 => integer::<i32>(shape).map(|value| Wire::Four(value.to_le_bytes())),
        Kind::Fixed64 => integer::<u64>(shape).map(|value| Wire::Eight(value.to_le_bytes())),
        Kind::Sfixed64 => integer::<i64>(shape).map(|value| Wire::Eight(value.to_le_bytes())),
        #[expect(clippy::cast_possible_truncation, reason = "the field has this precision")]
        Kind::Float => float(shape).map(|value| Wire::Four((value as f32).to_le_bytes())),
        Kind::Double => float(shape).map(|value| Wire::Eight(value.to_le_bytes())),
        Kind::Enum(descriptor) => match shape {
            Shape::Text(name) => match descriptor.get_value_by_name(name) {
                Some(value) => Ok(Wire::Varint(i64::from(value.number()).cast_unsigned())),
                None => Err(format!("{} has no value {name:?}", descriptor.full_name())),
            },
            shape => integer::<i32>(shape)
                .map(|number| Wire::Varint(i64::from(number).cast_unsigned()))
                .map_err(|_| expected(&format!("a value of {}", descriptor.full_name()), shape)),
        },
    })
}

pub(super) fn expected(what: &str, found: &Shape) -> String {
    format!("expected {what}, found {}", found.name())
}

/// A number without a fraction, or its digits as text.
fn integer<T: TryFrom<i128>>(shape: &Shape) -> Result<T, String> {
    let number = match shape {
        Shape::Number(number) => whole(number),
        Shape::Text(text) => match text.parse::<i128>() {
            Ok(value) => Some(value),
            Err(_) => text.parse::<Number>().ok().as_ref().and_then(whole),
        },
        other => return Err(expected("a whole number", other)),
    };
    let number = number.ok_or_else(|| "expected a whole number".to_owned())?;
    T::try_from(number).map_err(|_| format!("{number} is out of range"))
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(value.into());
    }
    if let Some(value) = number.as_u64() {
        return Some(value.into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range of the target")]
    number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e30).map(|value| value as i128)
}

fn float(shape: &Shape) -> Result<f64, String> {
    match shape {
        Shape::Number(number) => number.as_f64().ok_or_else(|| "expected a number".to_owned()),
        Shape::Text(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| "expected a number".to_owned()),
        },
        other => Err(expected("a number", other)),
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}
