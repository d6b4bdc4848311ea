//! Messages to documents: the JSON form of protobuf as Envoy's own `/config_dump` writes it.
//!
//! Field names are those of the definition, fields come in the order of their numbers and are left out at their
//! default, map keys are sorted, an `Any` is shown as what it holds behind `@type`, 64-bit integers are numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use crate::doc::Doc;
use crate::google::protobuf::{Any, Duration, Timestamp};
use crate::wkt::{self, WellKnown};
use crate::{Error, pool};

pub(crate) fn encoded(message: &str, body: &[u8]) -> Result<Doc, Error> {
    let descriptor = pool::message(message)?;
    let dynamic = DynamicMessage::decode(descriptor, body).map_err(|error| Error::undecodable(message, &error))?;
    document(&dynamic)
}

fn document(message: &DynamicMessage) -> Result<Doc, Error> {
    match WellKnown::of(message.descriptor().full_name()) {
        Some(kind) => well_known(kind, message),
        None => fields(message).map(Doc::Map),
    }
}

fn fields(message: &DynamicMessage) -> Result<Vec<(String, Doc)>, Error> {
    message.fields().map(|(field, content)| Ok((field.name().to_owned(), field_content(&field, content)?))).collect()
}

fn field_content(field: &FieldDescriptor, content: &Value) -> Result<Doc, Error> {
    match (content, field.kind()) {
        (Value::Map(map), Kind::Message(entry)) => {
            let kind = entry.map_entry_value_field().kind();
            let mut entries: Vec<(&MapKey, &Value)> = map.iter().collect();
            entries.sort_by(|a, b| key_order(a.0, b.0));
            let entries = entries.into_iter().map(|(key, item)| Ok((key_text(key), single(&kind, item)?)));
            entries.collect::<Result<_, Error>>().map(Doc::Map)
        }
        (Value::List(items), kind) if field.cardinality() == Cardinality::Repeated => {
            items.iter().map(|item| single(&kind, item)).collect::<Result<_, Error>>().map(Doc::List)
        }
        (content, kind) => single(&kind, content),
    }
}

fn single(kind: &Kind, content: &Value) -> Result<Doc, Error> {
    Ok(match content {
        Value::Bool(value) => Doc::Bool(*value),
        Value::I32(value) => Doc::Number((*value).into()),
        Value::I64(value) => Doc::Number((*value).into()),
        Value::U32(value) => Doc::Number((*value).into()),
        Value::U64(value) => Doc::Number((*value).into()),
        Value::F32(value) => Doc::float(shortest(*value)),
        Value::F64(value) => Doc::float(*value),
        Value::String(text) => Doc::Text(text.clone()),
        Value::Bytes(bytes) => Doc::Text(STANDARD.encode(bytes)),
        Value::EnumNumber(number) => match kind.as_enum().and_then(|kind| kind.get_value(*number)) {
            Some(value) => Doc::Text(value.name().to_owned()),
            None => Doc::Number((*number).into()),
        },
        Value::Message(message) => document(message)?,
        Value::List(_) | Value::Map(_) => return Err(Error::Shape("a repeated field inside a repeated field")),
    })
}

/// The `f64` that reads like the `f32`: 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

fn key_order(a: &MapKey, b: &MapKey) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn well_known(kind: WellKnown, message: &DynamicMessage) -> Result<Doc, Error> {
    match kind {
        WellKnown::Any => any(&transcode::<Any>(message)?),
        WellKnown::Duration => Ok(Doc::Text(wkt::duration_text(&transcode::<Duration>(message)?))),
        WellKnown::Timestamp => Ok(Doc::Text(wkt::timestamp_text(&transcode::<Timestamp>(message)?))),
        WellKnown::Wrapper => {
            let field = message.descriptor().get_field(1).ok_or(Error::Shape("a wrapper without a value"))?;
            single(&field.kind(), &message.get_field(&field))
        }
        WellKnown::FieldMask => {
            let paths = message.get_field_by_name("paths");
            let paths = paths.as_deref().and_then(Value::as_list).unwrap_or_default();
            Ok(Doc::Text(paths.iter().filter_map(Value::as_str).map(wkt::camel_case).collect::<Vec<_>>().join(",")))
        }
        WellKnown::Struct => match message.get_field_by_name("fields").as_deref().and_then(Value::as_map) {
            Some(map) => {
                let mut entries: Vec<(&MapKey, &Value)> = map.iter().collect();
                entries.sort_by(|a, b| key_order(a.0, b.0));
                let entries = entries.into_iter().map(|(key, item)| match item {
                    Value::Message(item) => Ok((key_text(key), struct_value(item)?)),
                    _ => Err(Error::Shape("a struct field that is no value")),
                });
                entries.collect::<Result<_, Error>>().map(Doc::Map)
            }
            None => Ok(Doc::Map(Vec::new())),
        },
        WellKnown::Value => struct_value(message),
        WellKnown::ListValue => {
            let items = message.get_field_by_name("values");
            let items = items.as_deref().and_then(Value::as_list).unwrap_or_default();
            let items = items.iter().filter_map(Value::as_message).map(struct_value);
            items.collect::<Result<_, Error>>().map(Doc::List)
        }
    }
}

fn struct_value(message: &DynamicMessage) -> Result<Doc, Error> {
    match message.fields().next() {
        None | Some((_, Value::EnumNumber(_))) => Ok(Doc::Null),
        Some((field, content)) => single(&field.kind(), content),
    }
}

fn any(any: &Any) -> Result<Doc, Error> {
    if any.type_url.is_empty() && any.value.is_empty() {
        return Ok(Doc::Map(Vec::new()));
    }
    let descriptor = pool::message_of_url(&any.type_url)?;
    let name = descriptor.full_name().to_owned();
    let message =
        DynamicMessage::decode(descriptor, any.value.clone()).map_err(|error| Error::undecodable(&name, &error))?;
    let mut entries = vec![("@type".to_owned(), Doc::Text(any.type_url.clone()))];
    match WellKnown::of(&name) {
        Some(kind) => entries.push(("value".to_owned(), well_known(kind, &message)?)),
        None => entries.extend(fields(&message)?),
    }
    Ok(Doc::Map(entries))
}

fn transcode<T: prost::Message + Default>(message: &DynamicMessage) -> Result<T, Error> {
    message.transcode_to().map_err(|error| Error::undecodable(message.descriptor().full_name(), &error))
}
