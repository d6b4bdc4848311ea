//! Text or JSON as a tree in which every value knows where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

use crate::Error;
use crate::error::Position;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Option<Position>,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: Option<Position>,
    pub(super) text: String,
}

impl Shape {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// Every document of a YAML stream; JSON is YAML. Empty documents are left out.
    pub(super) fn documents(text: &str) -> Result<Vec<Self>, Error> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_documents: 1_000_000,
                max_nodes: 50_000_000,
                max_events: 100_000_000,
                max_total_scalar_bytes: 1 << 30,
            },
            with_snippet: false,
        };
        let nodes: Vec<Self> =
            serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Error::Yaml(error.to_string()))?;
        Ok(nodes.into_iter().filter(|node| !matches!(node.shape, Shape::Null)).collect())
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let shape = match value {
            Value::Null => Shape::Null,
            Value::Bool(value) => Shape::Bool(*value),
            Value::Number(number) => Shape::Number(number.clone()),
            Value::String(text) => Shape::Text(text.clone()),
            Value::Array(items) => Shape::List(items.iter().map(Self::from).collect()),
            Value::Object(map) => Shape::Map(
                map.iter().map(|(key, item)| (Key { at: None, text: key.clone() }, Self::from(item))).collect(),
            ),
        };
        Self { at: None, shape }
    }
}

fn position<T>(spanned: &Spanned<T>) -> Option<Position> {
    let at = spanned.referenced;
    (at.line() > 0).then(|| Position { line: at.line(), column: at.column() })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Shape>::deserialize(deserializer)?;
        Ok(Self { at: position(&spanned), shape: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Shape::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Shape, E> {
        // What JSON has no number for is text to protobuf as well.
        Ok(match Number::from_f64(value) {
            Some(number) => Shape::Number(number),
            None if value.is_nan() => Shape::Text("NaN".to_owned()),
            None if value > 0.0 => Shape::Text("Infinity".to_owned()),
            None => Shape::Text("-Infinity".to_owned()),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Shape, E> {
        Ok(Shape::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        // A key is the text that was written, whatever a value of that spelling would be.
        while let Some((key, item)) = entries.next_entry::<Spanned<String>, Node>()? {
            map.push((Key { at: position(&key), text: key.value }, item));
        }
        Ok(Shape::Map(map))
    }
}
