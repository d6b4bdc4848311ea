//! The statuses of routes: for each parent, whether it takes the route and whether the route's references are good.

use kinds::gateway::{
    BackendRef, GrpcRouteSpec, HttpBackendRef, HttpRouteFilter, HttpRouteSpec, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec,
};
use kinds::{Diagnostic, FieldPath, Kind, Object, ObjectId};

use super::{Condition, ParentStatus, Status};
use crate::attach::{Parents, parent_refs};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::routing::{
    Effects, Refused, backend_effects, fallback_problem, grpc_patterns, http_patterns, resolve_backend, session_problem,
};

pub(super) fn of_route(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let parents =
        view.made::<Parents>(UnitId::Parents(id.clone())).map(|parents| parents.0.as_slice()).unwrap_or_default();
    let problems = problems(object, view);
    let mut diagnostics = Vec::new();
    let mut statuses = Vec::new();
    for parent in parents {
        let refused = problems.iter().find(|problem| problem.condition == "Accepted");
        let accepted = match (&parent.refusal, refused) {
            // Said already by who could not read it.
            (Some(refusal), _) if object.unread().is_some() => {
                Condition::no("Accepted", refusal.reason, refusal.message.clone())
            }
            (Some(refusal), _) => {
                let found = Diagnostic::error(
                    super::code(refusal.reason),
                    place(object, refusal.path.as_str()),
                    refusal.message.clone(),
                );
                diagnostics.push(found.about(id));
                Condition::no("Accepted", refusal.reason, refusal.message.clone())
            }
            (None, Some(problem)) => Condition::no("Accepted", problem.reason, problem.message.clone()),
            (None, None) => Condition::yes("Accepted", "Accepted", "the parent takes the route"),
        };
        let unresolved = problems.iter().find(|problem| problem.condition == "ResolvedRefs");
        let resolved = match unresolved {
            Some(problem) => Condition::no("ResolvedRefs", problem.reason, problem.message.clone()),
            None => Condition::yes("ResolvedRefs", "ResolvedRefs", "every reference is good"),
        };
        let reference = parent_refs(object).get(parent.index).and_then(|r| serde_json::to_value(r).ok());
        statuses.push(ParentStatus {
            reference: reference.unwrap_or_default(),
            controller: parent.controller.clone(),
            conditions: vec![accepted, resolved],
        });
    }
    for problem in &problems {
        let found = Diagnostic::error(
            super::code(problem.reason),
            place(object, problem.path.as_str()),
            problem.message.clone(),
        );
        diagnostics.push(with_help(found, problem).about(id));
    }
    diagnostics.extend(orphaned(object, parents.len(), view));
    let conditions =
        if id.kind == Kind::AiGatewayRoute { vec![super::ai::route_condition(&problems)] } else { Vec::new() };
    let status = Status { generation: object.meta.generation, conditions, parents: statuses, ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}

/// A route that no Gateway of ours was asked to take serves nothing.
fn orphaned(object: &Object, judged: usize, view: &View<'_>) -> Vec<Diagnostic> {
    if parent_refs(object).is_empty() {
        let found = Diagnostic::warning(
            "route-without-parent",
            place(object, "spec"),
            "the route names no parent and serves nothing",
        );
        return vec![found.about(&object.id).help("name a Gateway in spec.parentRefs")];
    }
    if judged > 0 {
        return Vec::new();
    }
    let missing = parent_refs(object).iter().enumerate().filter_map(|(index, _)| {
        let path = FieldPath::from("spec.parentRefs").index(index);
        let edge = view.reference(&object.id, path.as_str())?;
        (edge.verdict == crate::graph::Verdict::NotFound).then(|| {
            let found = Diagnostic::warning(
                "parent-not-found",
                place(object, path.as_str()),
                format!("{} does not exist", edge.target),
            );
            found.about(&object.id).help("add the Gateway, or name one that exists")
        })
    });
    missing.collect()
}

fn with_help(found: Diagnostic, problem: &Refused) -> Diagnostic {
    match problem.reason {
        "RefNotPermitted" => found.help("add a ReferenceGrant to the namespace of the target"),
        "BackendNotFound" => found.help("its share of the requests is answered 500 until it exists"),
        "InvalidKind" => found.help("a backend is a Service or a Backend (gateway.envoyproxy.io)"),
        _ => found,
    }
}

/// What keeps rules from working, first things first.
fn problems(object: &Object, view: &View<'_>) -> Vec<Refused> {
    let mut found = Vec::new();
    let mut refused = Vec::new();
    let rules = FieldPath::from("spec.rules");
    let mut rule =
        |index: usize, filters: &[HttpRouteFilter], backends: Vec<(&BackendRef, &[HttpRouteFilter])>, http2| {
            let path = rules.index(index);
            if let Err(refused) = Effects::gather(object, filters, &path.field("filters"), http2, view) {
                found.push(refused);
            }
            for (index, filter) in filters.iter().enumerate() {
                if let Some(mirror) = &filter.request_mirror {
                    let path = path.field("filters").index(index).field("requestMirror").field("backendRef");
                    backend(object, &path, &mirror.backend_ref, http2, view, &mut found);
                }
            }
            let alone = backends.iter().filter(|(reference, _)| reference.weight > 0).count() < 2;
            for (index, (reference, filters)) in backends.into_iter().enumerate() {
                let path = path.field("backendRefs").index(index);
                backend(object, &path, reference, http2, view, &mut found);
                found.extend(backend_effects(object, filters, &path.field("filters"), alone, http2, view).err());
            }
        };
    match object.id.kind {
        Kind::AiGatewayRoute => found.extend(super::ai::route_problems(object, view)),
        Kind::HttpRoute => {
            for (index, r) in object.spec::<HttpRouteSpec>().into_iter().flat_map(|spec| spec.rules.iter().enumerate())
            {
                rule(index, &r.filters, with_filters(&r.backend_refs), false);
                let path = rules.index(index);
                let session = session_problem(r.session_persistence.as_ref(), &path.field("sessionPersistence"));
                refused.extend(session);
                refused.extend(fallback_problem(object, &r.backend_refs, &path.field("backendRefs"), view));
                refused.extend(http_patterns(&r.matches, &path.field("matches")));
            }
        }
        Kind::GrpcRoute => {
            for (index, r) in object.spec::<GrpcRouteSpec>().into_iter().flat_map(|spec| spec.rules.iter().enumerate())
            {
                rule(index, &r.filters, with_filters(&r.backend_refs), true);
                let path = rules.index(index);
                let session = session_problem(r.session_persistence.as_ref(), &path.field("sessionPersistence"));
                refused.extend(session);
                refused.extend(fallback_problem(object, &r.backend_refs, &path.field("backendRefs"), view));
                refused.extend(grpc_patterns(&r.matches, &path.field("matches")));
            }
        }
        Kind::TlsRoute => {
            for (index, r) in object.spec::<TlsRouteSpec>().into_iter().flat_map(|spec| spec.rules.iter().enumerate()) {
                rule(index, &[], bare(&r.backend_refs), false);
            }
        }
        Kind::TcpRoute => {
            for (index, r) in object.spec::<TcpRouteSpec>().into_iter().flat_map(|spec| spec.rules.iter().enumerate()) {
                rule(index, &[], bare(&r.backend_refs), false);
            }
        }
        Kind::UdpRoute => {
            for (index, r) in object.spec::<UdpRouteSpec>().into_iter().flat_map(|spec| spec.rules.iter().enumerate()) {
                rule(index, &[], bare(&r.backend_refs), false);
            }
        }
        _ => {}
    }
    refused.extend(found);
    refused
}

fn with_filters(references: &[HttpBackendRef]) -> Vec<(&BackendRef, &[HttpRouteFilter])> {
    references.iter().map(|reference| (&reference.backend, reference.filters.as_slice())).collect()
}

fn bare(references: &[BackendRef]) -> Vec<(&BackendRef, &[HttpRouteFilter])> {
    references.iter().map(|reference| (reference, [].as_slice())).collect()
}

fn backend(
    object: &Object,
    path: &FieldPath,
    reference: &BackendRef,
    http2: bool,
    view: &View<'_>,
    found: &mut Vec<Refused>,
) {
    if let Err(broken) = resolve_backend(object, path.as_str(), reference, http2, view) {
        found.push(Refused {
            condition: "ResolvedRefs",
            reason: broken.reason,
            message: broken.message,
            path: path.clone(),
        });
    }
}
