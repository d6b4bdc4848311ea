//! What is said of an object whose newest version cannot be read: that it is not accepted, whatever is in force.

use std::sync::Arc;

use kinds::{Kind, Object};

use super::{Condition, Status};

/// The reason that the API of a kind has for it.
fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute | Kind::AiGatewayRoute => {
            "UnsupportedValue"
        }
        Kind::GatewayClass => "InvalidParameters",
        Kind::ListenerSet => "ListenersNotValid",
        Kind::InferencePool => "NotSupportedByParent",
        _ => "Invalid",
    }
}

/// Lays it over what is said of the version that is in force.
pub(super) fn overlay(status: &mut Arc<Status>, object: &Object) {
    let Some(refusal) = object.refusal() else { return };
    let message = match object.unread() {
        Some(_) => refusal.message.clone(),
        None => format!("{}; the last good version stays in force", refusal.message),
    };
    let reason = reason(object.id.kind);
    let status = Arc::make_mut(status);
    status.generation = refusal.generation;
    let lists = [&mut status.parents, &mut status.ancestors].into_iter().flatten().map(|entry| &mut entry.conditions);
    for condition in lists.chain([&mut status.conditions]).flatten() {
        *condition = match (condition.kind, condition.reason) {
            // Envoy AI Gateway's kinds have a type of condition for each verdict.
            (_, "ReconciliationSucceeded" | "ReconciliationFailed") => {
                Condition::no("NotAccepted", "ReconciliationFailed", message.clone())
            }
            ("Accepted" | "Programmed", _) => Condition::no(condition.kind, reason, message.clone()),
            _ => continue,
        };
    }
}
