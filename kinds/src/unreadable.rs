//! What an API server holds and what cannot be read: its schemas take more than we understand.
//!
//! Of some kinds what such an object is about can be read all the same. Then it takes part with that and nothing else, so
//! that its author is told where he looks, and a policy that nobody understands guards by refusing.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use crate::{Diagnostic, Kind, Meta, Object, ObjectId, Origin, Spec};

/// Why the newest version of an object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub generation: i64,
    /// With the field.
    pub message: String,
}

/// Which version of an object its content is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    #[default]
    Newest,
    /// The last that could be read.
    Last(Arc<Refusal>),
    /// What the object is about, and nothing else: no version of it could be read.
    Target(Arc<Refusal>),
}

/// An object whose content cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    pub id: ObjectId,
    pub refusal: Arc<Refusal>,
    pub finding: Diagnostic,
    /// The object with what it is about; none for kinds that are about nothing else.
    pub target: Option<Object>,
}

/// What a content could not be read for, and the content.
pub(crate) struct Failure {
    /// Starts at the object.
    pub path: String,
    pub message: String,
    pub content: Value,
}

/// The fields that say what an object is about, and without which it is none of its kind.
fn target_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Gateway => &["gatewayClassName"],
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute | Kind::AiGatewayRoute => {
            &["parentRefs"]
        }
        Kind::SecurityPolicy
        | Kind::BackendTrafficPolicy
        | Kind::ClientTrafficPolicy
        | Kind::EnvoyExtensionPolicy
        | Kind::EnvoyPatchPolicy => &["targetRef", "targetRefs", "targetSelectors"],
        Kind::BackendTlsPolicy => &["targetRefs", "validation/hostname"],
        _ => &[],
    }
}

impl Unreadable {
    pub(crate) fn new(
        (id, version, meta, origin): (ObjectId, SmolStr, Meta, &Origin),
        failure: Failure,
        finding: Diagnostic,
    ) -> Self {
        let Failure { path, message, mut content } = failure;
        let refusal = Arc::new(Refusal { generation: meta.generation, message: format!("{path}: {message}") });
        let fields = target_fields(id.kind);
        let mut about = Map::new();
        for field in fields {
            let Some(value) = content.pointer_mut(&format!("/{field}")).map(Value::take) else { continue };
            match field.split_once('/') {
                None => drop(about.insert((*field).to_owned(), value)),
                Some((outer, inner)) => drop(about.insert(outer.to_owned(), json!({ inner: value }))),
            }
        }
        let mut value = Value::Object([("spec".to_owned(), Value::Object(about))].into_iter().collect());
        let spec = (!fields.is_empty()).then(|| Spec::read(id.kind, &mut value).ok()).flatten();
        let reading = Reading::Target(refusal.clone());
        let target = spec.map(|spec| Object { id: id.clone(), version, meta, spec, reading, origin: origin.clone() });
        Self { id, refusal, finding, target }
    }
}
