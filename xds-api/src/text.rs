//! Resources as text and JSON: what people read, in golden files and on the admin port.

use serde_json::Value;

use crate::doc::Doc;
use crate::{Error, Resource, ResourceType, json_out, yaml_out};

/// The message of that full name as a JSON value.
pub fn message_to_value(name: &str, body: &[u8]) -> Result<Value, Error> {
    json_out::encoded(name, body).map(Doc::into_value)
}

/// The body of a resource of that type as a JSON value.
pub fn to_value(kind: ResourceType, body: &[u8]) -> Result<Value, Error> {
    message_to_value(kind.message_name(), body)
}

/// The message of that full name as YAML.
pub fn message_to_yaml(name: &str, body: &[u8]) -> Result<String, Error> {
    json_out::encoded(name, body).map(|doc| yaml_out::text(&doc))
}

/// One resource as YAML, fields in the order of their numbers.
pub fn to_yaml(resource: &Resource) -> Result<String, Error> {
    message_to_yaml(resource.kind.message_name(), &resource.body)
}

/// One resource as indented JSON, fields in the order of their numbers.
pub fn to_json(resource: &Resource) -> Result<String, Error> {
    let doc = json_out::encoded(resource.kind.message_name(), &resource.body)?;
    serde_json::to_string_pretty(&doc).map_err(|error| Error::Yaml(error.to_string()))
}

/// Resources as one YAML list, sorted by type and name; the text of no resources is `[]`.
pub fn list_to_yaml<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Result<String, Error> {
    let mut resources: Vec<&Resource> = resources.into_iter().collect();
    resources.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let docs = resources.into_iter().map(|resource| json_out::encoded(resource.kind.message_name(), &resource.body));
    Ok(yaml_out::text(&Doc::List(docs.collect::<Result<_, Error>>()?)))
}
