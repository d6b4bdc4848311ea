//! What is said to the author of an object, in the form in which Gateway API wants it said.

mod ai;
mod features;
mod gateway;
mod limits;
mod policy;
mod route;
mod unreadable;

use std::borrow::Cow;

use kinds::{Kind, ObjectId};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::engine::{Outcome, Product, View};

pub(crate) fn evaluate(id: &ObjectId, view: &View<'_>) -> Outcome {
    let mut outcome = judge(id, view);
    if let (Product::Status(status), Some(object)) = (&mut outcome.product, view.object(id)) {
        unreadable::overlay(status, object);
    }
    outcome
}

fn judge(id: &ObjectId, view: &View<'_>) -> Outcome {
    match id.kind {
        Kind::GatewayClass => gateway::of_class(id, view),
        Kind::Gateway => gateway::of_gateway(id, view),
        Kind::ListenerSet => gateway::of_listener_set(id, view),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute | Kind::AiGatewayRoute => {
            route::of_route(id, view)
        }
        Kind::AiServiceBackend
        | Kind::BackendSecurityPolicy
        | Kind::InferencePool
        | Kind::GatewayConfig
        | Kind::KgatewayBackend
        | Kind::GatewayParameters
        | Kind::InferenceService
        | Kind::EnvoyPatchPolicy
        | Kind::EnvoyExtensionPolicy => ai::evaluate(id, view),
        Kind::BackendTlsPolicy => policy::of_backend_tls_policy(id, view),
        Kind::SecurityPolicy | Kind::BackendTrafficPolicy | Kind::ClientTrafficPolicy => {
            crate::policy::status::evaluate(id, view)
        }
        Kind::EnvoyProxy => crate::policy::proxy::status(id, view),
        Kind::QuotaPolicy | Kind::RateLimitPolicy => limits::evaluate(id, view),
        _ => Outcome::default(),
    }
}

/// The diagnostic code of a condition's reason.
fn code(reason: &'static str) -> &'static str {
    match reason {
        "NoMatchingParent" => "no-matching-parent",
        "NotAllowedByListeners" => "not-allowed-by-listeners",
        "NoMatchingListenerHostname" => "no-matching-hostname",
        "RefNotPermitted" => "reference-not-permitted",
        "BackendNotFound" => "backend-not-found",
        "InvalidKind" => "invalid-kind",
        "UnsupportedValue" => "unsupported-value",
        "UnsupportedProtocol" => "unsupported-protocol",
        "InvalidRouteKinds" => "invalid-route-kinds",
        "InvalidCertificateRef" | "PartiallyInvalidCertificateRef" => "invalid-certificate",
        "InvalidCACertificateRef" | "InvalidCACertificateKind" | "NoValidCACertificate" => "invalid-authorities",
        "InvalidClientCertificateRef" => "invalid-certificate",
        "InvalidParameters" => "invalid-parameters",
        "HostnameConflict" => "hostname-conflict",
        "InvalidExtensionRef" => "endpoint-picker",
        "ProtocolConflict" => "protocol-conflict",
        other => other,
    }
}

/// The status of one object. Only the parts that its kind has are filled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub generation: i64,
    pub conditions: Vec<Condition>,
    pub addresses: Vec<Value>,
    pub listeners: Vec<ListenerStatus>,
    pub parents: Vec<ParentStatus>,
    pub ancestors: Vec<ParentStatus>,
    /// Of a GatewayClass: what of Gateway API its Gateways can do, by the names that the API gives to features.
    pub supported_features: Vec<&'static str>,
    /// Of a Gateway: how many ListenerSets it takes listeners from.
    pub attached_listener_sets: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub kind: &'static str,
    pub holds: bool,
    pub reason: &'static str,
    pub message: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerStatus {
    pub name: SmolStr,
    pub supported_kinds: Vec<Kind>,
    pub attached_routes: usize,
    pub conditions: Vec<Condition>,
}

/// The verdict of one parent of a route, or one ancestor of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentStatus {
    /// The reference as the user wrote it.
    pub reference: Value,
    pub controller: SmolStr,
    pub conditions: Vec<Condition>,
}

impl Condition {
    #[must_use]
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    #[must_use]
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }
}

impl Status {
    /// The `status` of the object, without times: those are the writer's.
    #[must_use]
    pub fn to_value(&self, id: &ObjectId) -> Value {
        let mut status = serde_json::Map::new();
        if !self.conditions.is_empty() {
            status.insert("conditions".into(), self.conditions_value(&self.conditions));
        }
        if !self.addresses.is_empty() {
            status.insert("addresses".into(), Value::Array(self.addresses.clone()));
        }
        if !self.supported_features.is_empty() {
            let features = self.supported_features.iter().map(|name| json!({ "name": name }));
            status.insert("supportedFeatures".into(), features.collect());
        }
        if let Some(count) = self.attached_listener_sets {
            status.insert("attachedListenerSets".into(), json!(count));
        }
        if matches!(id.kind, Kind::Gateway | Kind::ListenerSet) {
            status.insert("listeners".into(), self.listeners.iter().map(|l| self.listener_value(l)).collect());
        }
        let with_parents =
            matches!(id.kind, Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute);
        if with_parents || !self.parents.is_empty() {
            status.insert("parents".into(), self.parents.iter().map(|p| self.parent_value("parentRef", p)).collect());
        }
        if !self.ancestors.is_empty() {
            let ancestors = self.ancestors.iter().map(|p| self.parent_value("ancestorRef", p)).collect();
            status.insert("ancestors".into(), ancestors);
        }
        Value::Object(status)
    }

    fn listener_value(&self, listener: &ListenerStatus) -> Value {
        let kinds = listener.supported_kinds.iter().map(|kind| json!({"group": kind.group(), "kind": kind.name()}));
        json!({
            "name": listener.name,
            "supportedKinds": kinds.collect::<Vec<_>>(),
            "attachedRoutes": listener.attached_routes,
            "conditions": self.conditions_value(&listener.conditions),
        })
    }

    fn parent_value(&self, field: &str, parent: &ParentStatus) -> Value {
        json!({
            field: parent.reference,
            "controllerName": parent.controller.as_str(),
            "conditions": self.conditions_value(&parent.conditions),
        })
    }

    fn conditions_value(&self, conditions: &[Condition]) -> Value {
        let value = |condition: &Condition| {
            json!({
                "type": condition.kind,
                "status": if condition.holds { "True" } else { "False" },
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": self.generation,
            })
        };
        conditions.iter().map(value).collect()
    }
}
