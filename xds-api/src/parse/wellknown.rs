//! The messages that JSON writes in a form of their own, `Any` first among them.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_reflect::MessageDescriptor;

use super::message::{Encoded, fields, message, misfit, single};
use super::scalar::expected;
use super::tree::{Key, Node, Shape};
use crate::google::protobuf::{Any, FieldMask, ListValue, Struct, Value, value};
use crate::path::{Path, Step};
use crate::wkt::{self, WellKnown};
use crate::{Misfit, pool};

pub(super) fn encode(kind: WellKnown, descriptor: &MessageDescriptor, node: &Node, path: &Path<'_>) -> Encoded {
    let wrong = |what: &str| Err(misfit(path, node.at, expected(what, &node.shape)));
    match (kind, &node.shape) {
        (WellKnown::Any, Shape::Map(entries)) => any(node, entries, path),
        (WellKnown::Any, _) => wrong("a map with @type"),
        (WellKnown::Duration, Shape::Text(text)) => match wkt::parse_duration(text) {
            Some(duration) => Ok(duration.encode_to_vec()),
            None => Err(misfit(path, node.at, format!("{text:?} is no duration: write seconds, as 1.5s"))),
        },
        (WellKnown::Duration, _) => wrong("a duration, as 1.5s"),
        (WellKnown::Timestamp, Shape::Text(text)) => match wkt::parse_timestamp(text) {
            Some(timestamp) => Ok(timestamp.encode_to_vec()),
            None => Err(misfit(path, node.at, format!("{text:?} is no timestamp: write it as 2026-01-02T03:04:05Z"))),
        },
        (WellKnown::Timestamp, _) => wrong("a timestamp, as 2026-01-02T03:04:05Z"),
        (WellKnown::Wrapper, _) => {
            let mut out = Vec::new();
            if let Some(field) = descriptor.get_field(1) {
                let wire = single(&field.kind(), node, path)?;
                if !wire.is_default() {
                    wire.write(1, &mut out);
                }
            }
            Ok(out)
        }
        (WellKnown::FieldMask, Shape::Text(text)) => {
            let paths = text.split(',').filter(|path| !path.is_empty()).map(wkt::snake_case).collect();
            Ok(FieldMask { paths }.encode_to_vec())
        }
        (WellKnown::FieldMask, _) => wrong("field paths with commas between them"),
        (WellKnown::Struct, Shape::Map(entries)) => Ok(structure(entries, path)?.encode_to_vec()),
        (WellKnown::Struct, _) => wrong("a map"),
        (WellKnown::Value, _) => Ok(struct_value(node, path)?.encode_to_vec()),
        (WellKnown::ListValue, Shape::List(items)) => Ok(list(items, path)?.encode_to_vec()),
        (WellKnown::ListValue, _) => wrong("a list"),
    }
}

fn any(node: &Node, entries: &[(Key, Node)], path: &Path<'_>) -> Encoded {
    let Some((_, named)) = entries.iter().find(|(key, _)| key.text == "@type") else {
        return match entries {
            [] => Ok(Vec::new()),
            [..] => Err(misfit(path, node.at, "needs @type, the URL of the message's type")),
        };
    };
    let type_path = path.join(Step::Field("@type"));
    let Shape::Text(type_url) = &named.shape else {
        return Err(misfit(&type_path, named.at, expected("the URL of a type", &named.shape)));
    };
    let descriptor = pool::message_of_url(type_url).map_err(|error| misfit(&type_path, named.at, error.to_string()))?;
    let rest = entries.iter().filter(|(key, _)| key.text != "@type");
    let value = if WellKnown::of(descriptor.full_name()).is_none() {
        fields(&descriptor, rest, path)?
    } else {
        let mut value = Vec::new();
        for (key, item) in rest {
            let path = path.join(Step::Field(&key.text));
            if key.text != "value" {
                return Err(misfit(&path, key.at, format!("{} has only a value", descriptor.full_name())));
            }
            value = message(&descriptor, item, &path)?;
        }
        value
    };
    Ok(Any { type_url: type_url.clone(), value: value.into() }.encode_to_vec())
}

fn structure(entries: &[(Key, Node)], path: &Path<'_>) -> Result<Struct, Misfit> {
    let mut fields = BTreeMap::new();
    for (key, item) in entries {
        let path = path.join(Step::Key(&key.text));
        if fields.insert(key.text.clone(), struct_value(item, &path)?).is_some() {
            return Err(misfit(&path, key.at, "is set twice"));
        }
    }
    Ok(Struct { fields })
}

fn list(items: &[Node], path: &Path<'_>) -> Result<ListValue, Misfit> {
    let items = items.iter().enumerate().map(|(index, item)| struct_value(item, &path.join(Step::Index(index))));
    Ok(ListValue { values: items.collect::<Result<_, _>>()? })
}

fn struct_value(node: &Node, path: &Path<'_>) -> Result<Value, Misfit> {
    if path.too_deep() {
        return Err(misfit(path, node.at, "nested too deeply"));
    }
    let kind = match &node.shape {
        Shape::Null => value::Kind::NullValue(0),
        Shape::Bool(value) => value::Kind::BoolValue(*value),
        Shape::Number(number) => value::Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Shape::Text(text) => value::Kind::StringValue(text.clone()),
        Shape::List(items) => value::Kind::ListValue(list(items, path)?),
        Shape::Map(entries) => value::Kind::StructValue(structure(entries, path)?),
    };
    Ok(Value { kind: Some(kind) })
}
