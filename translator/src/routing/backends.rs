//! Where a rule sends its requests: each backend resolved to a cluster, or to what is wrong with it.

use kinds::core::Service;
use kinds::gateway::BackendRef;
use kinds::{FieldPath, Kind, Object};

use super::Refused;
use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::names::{ClusterId, ClusterName};
use crate::render::{backend_tls, dynamic};

/// Why a backend cannot be reached: a reason of the `ResolvedRefs` condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Broken {
    pub reason: &'static str,
    pub message: String,
}

impl Broken {
    pub(crate) fn at(self, path: &FieldPath) -> Refused {
        let Self { reason, message } = self;
        Refused { condition: "ResolvedRefs", reason, message, path: path.clone() }
    }
}

pub(crate) fn resolve(
    source: &Object,
    path: &str,
    reference: &BackendRef,
    http2: bool,
    view: &View<'_>,
) -> Result<ClusterId, Broken> {
    let broken = |reason, message: String| Err(Broken { reason, message });
    let Some(edge) = view.reference(&source.id, path) else {
        return broken("InvalidKind", format!("{} cannot be a backend", reference.name));
    };
    let id = match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => id,
        (target, Verdict::NotPermitted) => {
            let message = format!("{target} is in another namespace and no ReferenceGrant there permits it");
            return broken("RefNotPermitted", message);
        }
        (target, Verdict::NotFound) => return broken("BackendNotFound", format!("{target} does not exist")),
        (target, _) => return broken("InvalidKind", format!("{target} cannot be a backend")),
    };
    crate::ai::usable(id, view)?;
    if let Some(problem) = view.object(id).and_then(|backend| backend_tls::problem(backend, view)) {
        // Sent in the clear instead, the request would say to anyone what TLS was to hide.
        return broken("UnsupportedValue", format!("{id}: {}: {}", problem.path, problem.message));
    }
    let dynamic = view.object(id).is_some_and(|backend| dynamic::is(backend));
    if dynamic && !may_name_its_server(source.id.kind, edge.path.as_str()) {
        let message = format!("{id} is reached by the name that an HTTP request carries, and here is none");
        return broken("UnsupportedValue", message);
    }
    match id.kind {
        Kind::Service => {
            let Some(port) = reference.port else {
                return broken("BackendNotFound", format!("a reference to {id} needs a port"));
            };
            let has_port = view
                .spec::<Service>(id)
                .is_some_and(|service| service.spec.ports.iter().any(|service_port| service_port.port == port));
            if !has_port {
                return broken("BackendNotFound", format!("{id} has no port {port}"));
            }
            Ok(ClusterName { port: Some(port), http2, ..ClusterName::of_backend(id.clone()) }.into())
        }
        _ => Ok(ClusterName { http2, ..ClusterName::of_backend(id.clone()) }.into()),
    }
}

/// The server that a request names is looked up on its way: for the requests of routes themselves, not for their copies
/// or for the calls of filters.
fn may_name_its_server(source: Kind, path: &str) -> bool {
    matches!(source, Kind::HttpRoute | Kind::GrpcRoute) && !path.ends_with("requestMirror.backendRef")
}
