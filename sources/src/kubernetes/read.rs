//! An object as the API server sends it, to one that is translated.

use kinds::{ObjectId, Origin, Parsed, Unreadable, parse_admitted};
use kube::core::{DynamicObject, ObjectMeta};
use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::feed::Feed;

/// An object that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub id: ObjectId,
    pub parsed: Result<Parsed, Box<Unreadable>>,
    /// Every name that the object mentions, where it may be that of an object which is read on demand.
    pub names: Vec<SmolStr>,
}

/// Kept by clients for themselves, as large as the object, and read by nobody here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) fn identity(feed: Feed, meta: &ObjectMeta) -> ObjectId {
    ObjectId::new(feed.kind, meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// What others write beside the object (its status, who owns which field) is left out before anything is compared.
pub(super) fn read(feed: Feed, version: &str, object: DynamicObject, origin: &Origin) -> Read {
    let id = identity(feed, &object.metadata);
    let mut value = match object.data {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    if !feed.status_is_read() {
        value.remove("status");
    }
    let mut names = Vec::new();
    if feed.refers_to_content() {
        mentioned(value.get("spec").unwrap_or(&Value::Null), &mut names);
        names.sort();
        names.dedup();
    }
    value.insert("apiVersion".to_owned(), feed.resource(version).api_version.into());
    value.insert("kind".to_owned(), feed.kind.name().into());
    value.insert("metadata".to_owned(), metadata(object.metadata));
    Read { id, parsed: parse_admitted(Value::Object(value), origin), names }
}

fn metadata(meta: ObjectMeta) -> Value {
    let meta = ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        labels: meta.labels,
        annotations: meta.annotations.map(|mut annotations| {
            annotations.remove(LAST_APPLIED);
            annotations
        }),
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        generation: meta.generation,
        uid: meta.uid,
        ..ObjectMeta::default()
    };
    serde_json::to_value(meta).unwrap_or_default()
}

/// References name their target in a field `name`, whatever they are for. Some of these names are of something else,
/// which at worst keeps an object that nobody needs.
fn mentioned(value: &Value, names: &mut Vec<SmolStr>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                match inner {
                    Value::String(name) if field == "name" => names.push(SmolStr::new(name)),
                    _ => mentioned(inner, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kinds::Kind;
    use kinds::gateway::GatewaySpec;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn gateway(extra: Value) -> Value {
        let mut gateway = json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7", "generation": 2},
            "spec": {"gatewayClassName": "c", "listeners": [
                {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "cert"}]}}]},
        });
        gateway.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        gateway
    }

    fn read_gateway(extra: Value) -> Read {
        let origin = Origin::without_text("kubernetes");
        read(Feed::of(Kind::Gateway), "v1", object(gateway(extra)), &origin)
    }

    #[test]
    fn what_others_write_beside_an_object_is_no_part_of_it() {
        let written = json!({"status": {"conditions": []}, "metadata": {
            "name": "web", "namespace": "shop", "resourceVersion": "9", "generation": 2,
            "annotations": {LAST_APPLIED: "{}"},
            "managedFields": [{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}],
        }});
        let (Ok(Parsed::Object(before, _)), Ok(Parsed::Object(after, _))) =
            (read_gateway(json!({})).parsed, read_gateway(written).parsed)
        else {
            panic!("both are good");
        };
        assert_eq!(before, after);
    }

    #[test]
    fn names_of_what_an_object_refers_to_are_found() {
        assert_eq!(read_gateway(json!({})).names, ["cert", "https"]);
    }

    #[test]
    fn a_field_of_a_newer_release_is_remarked_and_an_undecodable_one_refused() {
        let newer = json!({"spec": {"gatewayClassName": "c", "newer": 1, "listeners": []}});
        let Ok(Parsed::Object(_, remarks)) = read_gateway(newer).parsed else { panic!("it is read") };
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        let broken = json!({"spec": {"gatewayClassName": "c", "listeners": "none"}});
        let Err(unreadable) = read_gateway(broken).parsed else { panic!("it is refused") };
        assert_eq!(unreadable.id.to_string(), "Gateway shop/web");
        let (refusal, target) = (&unreadable.refusal, unreadable.target.unwrap());
        assert_eq!((refusal.generation, refusal.message.starts_with("spec.listeners: ")), (2, true), "{refusal:?}");
        assert_eq!(target.spec::<GatewaySpec>().unwrap().gateway_class_name, "c");
    }
}
