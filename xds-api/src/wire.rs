//! Encoded messages, field by field, without copying and without decoding what nobody asks for.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// The bytes are no message.
pub(crate) struct Malformed;

/// One field as it stands in the bytes.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Four(u32),
    Eight(u64),
    Slice(&'a [u8]),
}

pub(crate) fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Raw<'a>), Malformed> {
    let (number, wire) = decode_key(bytes).map_err(|_| Malformed)?;
    Ok((number, value(wire, bytes)?))
}

pub(crate) fn value<'a>(wire: WireType, bytes: &mut &'a [u8]) -> Result<Raw<'a>, Malformed> {
    Ok(match wire {
        WireType::Varint => Raw::Varint(decode_varint(bytes).map_err(|_| Malformed)?),
        WireType::ThirtyTwoBit => Raw::Four(bytes.try_get_u32_le().map_err(|_| Malformed)?),
        WireType::SixtyFourBit => Raw::Eight(bytes.try_get_u64_le().map_err(|_| Malformed)?),
        WireType::LengthDelimited => {
            let length = decode_varint(bytes).ok().and_then(|length| usize::try_from(length).ok()).ok_or(Malformed)?;
            let (slice, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
            *bytes = rest;
            Raw::Slice(slice)
        }
        WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
    })
}

/// The type URL of an encoded `Any` and what it holds.
pub(crate) fn any(mut bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut url, mut content): (&str, &[u8]) = ("", &[]);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (1, Raw::Slice(slice)) => url = std::str::from_utf8(slice).map_err(|_| Malformed)?,
            (2, Raw::Slice(slice)) => content = slice,
            _ => {}
        }
    }
    Ok((url, content))
}

/// The last content of a field that is a text or a message.
pub(crate) fn slice_of(mut bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    while !bytes.is_empty() {
        if let (number, Raw::Slice(slice)) = next(&mut bytes)?
            && number == wanted
        {
            found = Some(slice);
        }
    }
    Ok(found)
}
