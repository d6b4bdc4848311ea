//! Backends that take over: those of a rule marked `fallback` get requests only while the others cannot take them.
//!
//! They stand in one cluster, by priority, so that Envoy decides by what it sees of their servers.

use kinds::envoy_gateway::BackendSpec;
use kinds::gateway::{BackendRef, HttpRouteFilter};
use kinds::{FieldPath, Kind, Object, ObjectId};

use super::Refused;
use crate::engine::View;
use crate::graph::Target;
use crate::names::{ClusterId, ClusterName, Member};
use crate::render::dynamic;

pub(crate) fn is(backend: &ObjectId, view: &View<'_>) -> bool {
    backend.kind == Kind::Backend && view.spec::<BackendSpec>(backend).is_some_and(|spec| spec.fallback == Some(true))
}

/// The cluster of backends, each with its weight, some of which are there to take over; none where it is all the same.
pub(crate) fn cluster<'a>(backends: impl Iterator<Item = (&'a ClusterId, u32, bool)>) -> Option<ClusterId> {
    let mut backends: Vec<_> = backends.collect();
    backends.sort_by_key(|(_, _, fallback)| *fallback);
    let (first, _, last_resort) = *backends.first()?;
    if backends.iter().all(|(_, _, fallback)| *fallback == last_resort) {
        return None;
    }
    let members = backends.into_iter().map(|(cluster, weight, fallback)| Member {
        backend: cluster.backend.clone(),
        port: cluster.port,
        priority: u32::from(fallback),
        weight,
    });
    let cluster = ClusterName::taking_over(members.collect())?;
    Some(ClusterName { http2: first.http2, settings: first.settings.clone(), ..cluster }.into())
}

/// What is chosen is a server, not a backend of the rule: there is no place for filters of one of them, nor for what only
/// a cluster of its own can do.
pub(super) fn problem<'a>(
    route: &Object,
    references: impl Iterator<Item = (&'a BackendRef, &'a [HttpRouteFilter])> + Clone,
    path: &FieldPath,
    view: &View<'_>,
) -> Option<Refused> {
    // Asked for every rule: most have Services and nothing else.
    if !references.clone().any(|(reference, _)| reference.kind == "Backend") {
        return None;
    }
    let target = |index: usize| match &view.reference(&route.id, path.index(index).as_str())?.target {
        Target::Object(id) => Some(id),
        Target::Unsupported { .. } => None,
    };
    let count = references.clone().count();
    if !(0..count).filter_map(target).any(|id| is(id, view)) {
        return None;
    }
    let refuse = |path: FieldPath, message: &str| {
        Some(Refused { condition: "Accepted", reason: "UnsupportedValue", message: message.to_owned(), path })
    };
    if let Some(filtered) = references.clone().position(|(_, filters)| !filters.is_empty()) {
        let message = "a rule with a backend that is a fallback can have filters for the rule, not for one backend";
        return refuse(path.index(filtered).field("filters"), message);
    }
    let alone = |id: &ObjectId| match id.kind {
        Kind::Service => false,
        Kind::Backend => view.object(id).is_some_and(|backend| dynamic::is(backend)),
        _ => true,
    };
    let odd = (0..count).find(|index| target(*index).is_some_and(alone))?;
    refuse(path.index(odd), "only Services and Backends with endpoints take over from each other")
}
