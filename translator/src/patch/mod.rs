//! EnvoyPatchPolicy: changes to a Gateway's resources after they are rendered.
//!
//! A patch that does not apply costs itself only, and its author is told where it stopped.

mod json_patch;
mod json_path;

use kinds::envoy_gateway::{EnvoyJsonPatch, EnvoyPatchPolicySpec, PatchOp};
use kinds::{Diagnostic, FieldPath, Kind, Object, ObjectId};
use serde_json::Value;
use xds_api::{Resource, ResourceType, from_value, to_value, validate};

use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::Role;

/// The policies about a Gateway, found once for all its resources: lower priority first, then the older.
pub(crate) fn evaluate_policies(gateway: &ObjectId, view: &View<'_>) -> Outcome {
    let ids: Vec<ObjectId> = find(gateway, view).into_iter().map(|(policy, _)| policy.id.clone()).collect();
    Product::Patches(ids.into()).into()
}

fn policies<'a>(gateway: &ObjectId, view: &View<'a>) -> Vec<(&'a Object, &'a EnvoyPatchPolicySpec)> {
    let ids = view.made::<Vec<ObjectId>>(UnitId::Patches(gateway.clone()));
    let of = |id: &ObjectId| {
        let object: &Object = view.object(id)?;
        Some((object, object.spec::<EnvoyPatchPolicySpec>()?))
    };
    ids.into_iter().flatten().filter_map(of).collect()
}

fn find<'a>(gateway: &ObjectId, view: &View<'a>) -> Vec<(&'a Object, &'a EnvoyPatchPolicySpec)> {
    let ids = view.referrers_of(gateway, Role::PolicyTarget, Kind::EnvoyPatchPolicy);
    let mut found: Vec<(&Object, &EnvoyPatchPolicySpec)> = ids
        .filter_map(|id| {
            let object: &Object = view.object(id)?;
            Some((object, object.spec::<EnvoyPatchPolicySpec>()?))
        })
        .collect();
    found.sort_by(|a, b| a.1.priority.cmp(&b.1.priority).then_with(|| a.0.age_order().cmp(&b.0.age_order())));
    found
}

/// Whether anything patches a Gateway's resources.
pub(crate) fn any(gateway: &ObjectId, view: &View<'_>) -> bool {
    view.made::<Vec<ObjectId>>(UnitId::Patches(gateway.clone())).is_some_and(|policies| !policies.is_empty())
}

/// A resource of its own, rather than a change to one.
fn adds(patch: &EnvoyJsonPatch) -> bool {
    patch.operation.op == PatchOp::Add
        && patch.operation.json_path.is_none()
        && patch.operation.path.as_deref().unwrap_or_default().is_empty()
}

/// The units of the resources that a Gateway's policies add.
pub(crate) fn added(gateway: &ObjectId, view: &View<'_>) -> Vec<UnitId> {
    let mut units = vec![UnitId::Patches(gateway.clone())];
    for (policy, spec) in find(gateway, view) {
        let own = spec.json_patches.iter().enumerate().filter(|(_, patch)| adds(patch));
        units.extend(own.map(|(index, _)| UnitId::Added(gateway.clone(), policy.id.clone(), index)));
    }
    units
}

/// A resource that a policy adds.
pub(crate) fn evaluate(policy: &ObjectId, index: usize, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(policy) else { return Outcome::default() };
    let Some(patch) = object.spec::<EnvoyPatchPolicySpec>().and_then(|spec| spec.json_patches.get(index)) else {
        return Outcome::default();
    };
    match make(patch) {
        Ok(resource) => Product::Resource(resource).into(),
        Err(message) => {
            Outcome { diagnostics: vec![finding(object, index, "operation.value", message)], ..Outcome::default() }
        }
    }
}

fn make(patch: &EnvoyJsonPatch) -> Result<Resource, String> {
    let kind = ResourceType::from_type_url(&patch.kind)
        .ok_or_else(|| format!("{} is not a type of resource that an Envoy is sent", patch.kind))?;
    let value = patch.operation.value.as_ref().ok_or("adds nothing: spec.jsonPatches[].operation.value is missing")?;
    let mut resource = encoded(kind, value)?;
    resource.name = patch.name.as_str().into();
    Ok(resource)
}

fn encoded(kind: ResourceType, value: &Value) -> Result<Resource, String> {
    let resource = from_value(kind, value).map_err(|error| error.to_string())?;
    match validate(&resource).into_iter().next() {
        None => Ok(resource),
        Some(error) => Err(error.to_string()),
    }
}

fn finding(policy: &Object, index: usize, field: &str, message: String) -> Diagnostic {
    let path = FieldPath::from("spec.jsonPatches").index(index).field(field);
    Diagnostic::error("patch-not-applied", place(policy, path.as_str()), message)
        .about(&policy.id)
        .help("the resource stays as it was before this patch")
}

/// Changes what a unit made as the policies of its Gateway want.
pub(crate) fn apply(unit: &UnitId, outcome: &mut Outcome, view: &View<'_>) {
    let Product::Resource(resource) = &mut outcome.product else { return };
    let Some(gateway) = unit.gateway() else { return };
    if matches!(unit, UnitId::Added(..)) {
        return;
    }
    for (policy, spec) in policies(gateway, view) {
        for (index, patch) in spec.json_patches.iter().enumerate() {
            let about_this = patch.kind == resource.kind.type_url() && patch.name == *resource.name;
            if !about_this || adds(patch) {
                continue;
            }
            match changed(resource, patch) {
                Ok(patched) => *resource = patched,
                Err(message) => outcome.diagnostics.push(finding(policy, index, "operation", message)),
            }
        }
    }
}

fn changed(resource: &Resource, patch: &EnvoyJsonPatch) -> Result<Resource, String> {
    let mut value = to_value(resource.kind, &resource.body).map_err(|error| error.to_string())?;
    let operation = &patch.operation;
    let pointers = match &operation.json_path {
        None => vec![operation.path.clone().unwrap_or_default()],
        Some(path) => {
            let found = json_path::pointers(&value, path)?;
            if found.is_empty() {
                return Err(format!("{path} finds nothing in {}", resource.name));
            }
            let below = operation.path.as_deref().unwrap_or_default();
            found.into_iter().map(|pointer| pointer + below).collect()
        }
    };
    for pointer in pointers {
        json_patch::apply(&mut value, operation, &pointer)?;
    }
    let patched = encoded(resource.kind, &value)?;
    if patched.name != resource.name {
        return Err("the name of a resource cannot be changed".to_owned());
    }
    Ok(patched)
}
