//! A tree into the bytes of its message: the same bytes that the generated types encode to.
//!
//! Both spellings of a field are accepted, as Envoy does. Whatever does not fit is an error that says where.

use std::collections::BTreeMap;

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::scalar::{Wire, expected, scalar};
use super::tree::{Key, Node, Shape};
use super::wellknown;
use crate::Misfit;
use crate::error::Position;
use crate::path::{Path, Step};
use crate::wkt::WellKnown;

pub(super) type Encoded = Result<Vec<u8>, Misfit>;

pub(super) fn misfit(path: &Path<'_>, at: Option<Position>, reason: impl Into<String>) -> Misfit {
    Misfit { path: path.text(), reason: reason.into(), at }
}

pub(super) fn message(descriptor: &MessageDescriptor, node: &Node, path: &Path<'_>) -> Encoded {
    if path.too_deep() {
        return Err(misfit(path, node.at, "nested too deeply"));
    }
    if let Some(kind) = WellKnown::of(descriptor.full_name()) {
        return wellknown::encode(kind, descriptor, node, path);
    }
    match &node.shape {
        Shape::Map(entries) => fields(descriptor, entries.iter(), path),
        other => Err(misfit(path, node.at, expected(&format!("a map ({})", descriptor.full_name()), other))),
    }
}

/// The field whose name is closest to what was written, if it is close.
fn nearest(descriptor: &MessageDescriptor, written: &str) -> Option<String> {
    let written = crate::wkt::snake_case(written);
    let names =
        descriptor.fields().map(|field| (strsim::osa_distance(field.name(), &written), field.name().to_owned()));
    let (distance, name) = names.min()?;
    (distance <= 2 && distance < written.len() / 2).then_some(name)
}

/// A field of a `oneof` is encoded where the first field of that `oneof` stands, as the generated types do it.
fn rank(field: &FieldDescriptor) -> u32 {
    let first = field.containing_oneof().and_then(|oneof| oneof.fields().map(|f| f.number()).min());
    first.unwrap_or_else(|| field.number())
}

pub(super) fn fields<'n>(
    descriptor: &MessageDescriptor,
    entries: impl Iterator<Item = &'n (Key, Node)>,
    path: &Path<'_>,
) -> Encoded {
    // By rank: two entries of one rank are one field written twice, or two of one `oneof`.
    let mut parts: BTreeMap<u32, (FieldDescriptor, Vec<u8>)> = BTreeMap::new();
    for (key, node) in entries {
        let known = descriptor.get_field_by_name(&key.text).or_else(|| descriptor.get_field_by_json_name(&key.text));
        let Some(field) = known else {
            let mut reason = format!("unknown field {:?} of {}", key.text, descriptor.full_name());
            if let Some(near) = nearest(descriptor, &key.text) {
                reason += &format!("; did you mean {near:?}?");
            }
            return Err(misfit(&path.join(Step::Field(&key.text)), key.at, reason));
        };
        let name = field.name().to_owned();
        let path = path.join(Step::Field(&name));
        let null_counts = matches!(field.kind(), Kind::Message(m) if m.full_name() == "google.protobuf.Value");
        if matches!(node.shape, Shape::Null) && !null_counts {
            continue;
        }
        let bytes = field_bytes(&field, node, &path)?;
        if let Some((other, _)) = parts.get(&rank(&field)) {
            let reason = if other.number() == field.number() {
                "is set twice".to_owned()
            } else {
                format!("cannot be set beside {}", other.name())
            };
            return Err(misfit(&path, key.at, reason));
        }
        parts.insert(rank(&field), (field, bytes));
    }
    Ok(parts.into_values().flat_map(|(_, bytes)| bytes).collect())
}

fn field_bytes(field: &FieldDescriptor, node: &Node, path: &Path<'_>) -> Encoded {
    if field.is_map() {
        return map(field, node, path);
    }
    let kind = field.kind();
    let mut out = Vec::new();
    if !field.is_list() {
        let wire = single(&kind, node, path)?;
        if field.supports_presence() || !wire.is_default() {
            wire.write(field.number(), &mut out);
        }
        return Ok(out);
    }
    let Shape::List(items) = &node.shape else {
        return Err(misfit(path, node.at, expected("a list", &node.shape)));
    };
    let mut packed = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let wire = single(&kind, item, &path.join(Step::Index(index)))?;
        if field.is_packed() {
            wire.write_packed(&mut packed);
        } else {
            wire.write(field.number(), &mut out);
        }
    }
    if !packed.is_empty() {
        Wire::Bytes(packed).write(field.number(), &mut out);
    }
    Ok(out)
}

pub(super) fn single(kind: &Kind, node: &Node, path: &Path<'_>) -> Result<Wire, Misfit> {
    match kind {
        Kind::Message(descriptor) => message(descriptor, node, path).map(Wire::Bytes),
        kind => match scalar(kind, &node.shape) {
            Some(wire) => wire.map_err(|reason| misfit(path, node.at, reason)),
            None => Err(misfit(path, node.at, "not a scalar")),
        },
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MapKey<'a> {
    Number(i128),
    Text(&'a str),
}

fn map(field: &FieldDescriptor, node: &Node, path: &Path<'_>) -> Encoded {
    let (Shape::Map(entries), Kind::Message(entry)) = (&node.shape, field.kind()) else {
        return Err(misfit(path, node.at, expected("a map", &node.shape)));
    };
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut sorted: BTreeMap<MapKey<'_>, Vec<u8>> = BTreeMap::new();
    for (key, item) in entries {
        let path = path.join(Step::Key(&key.text));
        let (order, shape) = match &key_kind {
            Kind::String => (MapKey::Text(&key.text), Shape::Text(key.text.clone())),
            Kind::Bool => {
                let value = key.text.parse().map_err(|_| misfit(&path, key.at, "expected true or false as the key"))?;
                (MapKey::Number(i128::from(value)), Shape::Bool(value))
            }
            _ => {
                let value =
                    key.text.parse().map_err(|_| misfit(&path, key.at, "expected a whole number as the key"))?;
                (MapKey::Number(value), Shape::Text(key.text.clone()))
            }
        };
        let key_wire = single(&key_kind, &Node { at: key.at, shape }, &path)?;
        let item_wire = single(&value_kind, item, &path)?;
        let mut body = Vec::new();
        for (number, wire) in [(1, key_wire), (2, item_wire)] {
            if !wire.is_default() {
                wire.write(number, &mut body);
            }
        }
        if sorted.insert(order, body).is_some() {
            return Err(misfit(&path, key.at, "is set twice"));
        }
    }
    let mut out = Vec::new();
    for body in sorted.into_values() {
        encode_key(field.number(), WireType::LengthDelimited, &mut out);
        encode_varint(body.len() as u64, &mut out);
        out.extend(body);
    }
    Ok(out)
}
