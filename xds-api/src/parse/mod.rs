//! Documents to messages: YAML, JSON text or a JSON value into encoded bytes.
//!
//! Reads what [`crate::to_yaml`] and Envoy's own `/config_dump` write, and what Envoy reads: field names in either
//! spelling, an `Any` by its `@type` at any depth. An unknown field is an error with its path and, in text, its line
//! and column. The bytes are the ones that the generated types encode to.

mod message;
mod scalar;
mod tree;
mod wellknown;

use bytes::Bytes;
use serde_json::Value;

use self::tree::{Node, Shape};
use crate::path::{Path, Step};
use crate::{Error, Resource, ResourceType, pool};

/// A JSON value as the message of that full name.
pub fn message_from_value(name: &str, value: &Value) -> Result<Bytes, Error> {
    let descriptor = pool::message(name)?;
    Ok(Bytes::from(message::message(&descriptor, &Node::from(value), &Path::ROOT)?))
}

/// Text that holds exactly one document, YAML or JSON, as the message of that full name.
pub fn message_from_yaml(name: &str, text: &str) -> Result<Bytes, Error> {
    let descriptor = pool::message(name)?;
    match Node::documents(text)?.as_slice() {
        [node] => Ok(Bytes::from(message::message(&descriptor, node, &Path::ROOT)?)),
        documents => Err(Error::Yaml(format!("expected one document, found {}", documents.len()))),
    }
}

/// The resources of one type in a text: its documents, or lists of them.
pub fn from_yaml(kind: ResourceType, text: &str) -> Result<Vec<Resource>, Error> {
    let descriptor = pool::message(kind.message_name())?;
    let mut resources = Vec::new();
    for document in Node::documents(text)? {
        match document {
            Node { shape: Shape::List(items), .. } => {
                for (index, item) in items.iter().enumerate() {
                    let body = message::message(&descriptor, item, &Path::ROOT.join(Step::Index(index)))?;
                    resources.push(Resource::from_body(kind, body.into())?);
                }
            }
            node => {
                resources.push(Resource::from_body(kind, message::message(&descriptor, &node, &Path::ROOT)?.into())?)
            }
        }
    }
    Ok(resources)
}

/// One resource from its JSON value, which may carry the `@type` it has inside an `Any`.
pub fn from_value(kind: ResourceType, value: &Value) -> Result<Resource, Error> {
    let mut node = Node::from(value);
    if let Shape::Map(entries) = &mut node.shape {
        entries.retain(|(key, item)| {
            let own_type = key.text == "@type" && matches!(&item.shape, Shape::Text(url) if url == kind.type_url());
            !own_type
        });
    }
    let descriptor = pool::message(kind.message_name())?;
    Resource::from_body(kind, message::message(&descriptor, &node, &Path::ROOT)?.into())
}
