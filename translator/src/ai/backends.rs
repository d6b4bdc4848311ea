//! What a rule's references lead to: servers, the API each speaks, and what each wants changed.

use kinds::ai::{AiBackendRef, AiServiceBackendSpec};
use kinds::gateway::HttpRouteTimeouts;
use kinds::inference::InferencePoolSpec;
use kinds::{FieldPath, Kind, Object, ObjectId};

use super::api::{Api, spoken};
use super::edits::{Edits, SAME_PATH};
use super::wishes::{Wishes, usable};
use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::routing::{Broken, resolve_backend};

/// One reference of a rule, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub backend: ObjectId,
    pub apis: Vec<Api>,
    pub edits: Edits,
    /// What the backend itself says, in manifests of the first releases.
    pub timeouts: Option<HttpRouteTimeouts>,
    pub wishes: Wishes,
}

pub(crate) fn resolve(
    route: &Object,
    path: &FieldPath,
    reference: &AiBackendRef,
    view: &View<'_>,
) -> Result<Share, Broken> {
    let Some(edge) = view.reference(&route.id, path.as_str()) else {
        return Err(broken("InvalidKind", format!("{} cannot be a backend", reference.name)));
    };
    let id = target(&edge.target, edge.verdict)?;
    match id.kind {
        Kind::AiServiceBackend => service(id, reference, view),
        Kind::InferencePool => pool(id, view),
        _ => Err(broken("InvalidKind", format!("{id} cannot be a backend of an AI route"))),
    }
}

fn broken(reason: &'static str, message: String) -> Broken {
    Broken { reason, message }
}

fn target(target: &Target, verdict: Verdict) -> Result<&ObjectId, Broken> {
    match (target, verdict) {
        (Target::Object(id), Verdict::Allowed) => Ok(id),
        (target, Verdict::NotPermitted) => Err(broken(
            "RefNotPermitted",
            format!("{target} is in another namespace and no ReferenceGrant there permits it"),
        )),
        (target, Verdict::NotFound) => Err(broken("BackendNotFound", format!("{target} does not exist"))),
        (target, _) => Err(broken("InvalidKind", format!("{target} cannot be a backend"))),
    }
}

fn service(id: &ObjectId, reference: &AiBackendRef, view: &View<'_>) -> Result<Share, Broken> {
    let missing = || broken("BackendNotFound", format!("{id} does not exist"));
    let object = view.object(id).ok_or_else(missing)?;
    let spec = object.spec::<AiServiceBackendSpec>().ok_or_else(missing)?;
    let problem = |broken: Broken| Broken { reason: broken.reason, message: format!("{id}: {}", broken.message) };
    resolve_backend(object, "spec.backendRef", &spec.backend_ref, false, view).map_err(problem)?;
    let (apis, path) =
        spoken(&spec.schema).map_err(|message| broken("UnsupportedValue", format!("{id}: {message}")))?;
    super::credentials::of(id, view).map_err(problem)?;
    let mut edits = Edits { path: Some(path), ..Edits::default() };
    edits.overlay(spec.header_mutation.as_ref(), spec.body_mutation.as_ref());
    edits.overlay(reference.header_mutation.as_ref(), reference.body_mutation.as_ref());
    if !reference.model_name_override.is_empty() {
        edits.model = Some(reference.model_name_override.to_string());
    }
    Ok(Share {
        backend: id.clone(),
        apis: apis.to_vec(),
        edits,
        timeouts: spec.timeouts.clone(),
        wishes: Wishes::default(),
    })
}

/// The servers of a pool speak OpenAI's API at its usual paths.
fn pool(id: &ObjectId, view: &View<'_>) -> Result<Share, Broken> {
    if view.spec::<InferencePoolSpec>(id).is_none() {
        return Err(broken("BackendNotFound", format!("{id} does not exist")));
    }
    let edits = Edits { path: Some(SAME_PATH.to_owned()), ..Edits::default() };
    usable(id, view)?;
    let wishes = Wishes::of(id, view);
    Ok(Share { backend: id.clone(), apis: vec![Api::OpenAi], edits, timeouts: None, wishes })
}

/// What keeps a backend from being used by any rule.
pub(crate) fn problem(id: &ObjectId, view: &View<'_>) -> Option<String> {
    let object = view.object(id)?;
    let spec = object.spec::<AiServiceBackendSpec>()?;
    if let Err(broken) = resolve_backend(object, "spec.backendRef", &spec.backend_ref, false, view) {
        return Some(broken.message);
    }
    if let Err(message) = spoken(&spec.schema) {
        return Some(message);
    }
    super::credentials::of(id, view).err().map(|broken| broken.message)
}
