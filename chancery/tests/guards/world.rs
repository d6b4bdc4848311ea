//! Objects as JSON, and what guards look at.

use serde_json::{Value, json};

pub(crate) const GATEWAY_API: &str = "gateway.networking.k8s.io";
pub(crate) const POLICIES: &str = "gateway.envoyproxy.io/v1alpha1";

/// The one key of tokens, shared by whoever signs and whoever checks.
pub(crate) const JWKS: &str =
    r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"k","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}"#;
/// Of the issuer `tests`: subject `alice`, tenant `red`.
pub(crate) const TOKEN: &str = "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiayJ9.eyJpc3MiOiAidGVzdHMiLCAiYXVkIjogIm1vZGVscyIsICJleHAiOiA0MTAyNDQ0ODAwLCAic3ViIjogImFsaWNlIiwgInRlbmFudCI6ICJyZWQiLCAiZ3JvdXBzIjogWyJkZXYiLCAib3BzIl0sICJzY29wZSI6ICJyZWFkIHdyaXRlIn0.p6ZXuMIU9FXP0GBYQKWs74vjIV6RTLugpQ1uf4k6lAo";

pub(crate) fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

pub(crate) fn gateway(port: u16) -> Value {
    let spec =
        json!({"gatewayClassName": "chancery", "listeners": [{"name": "http", "protocol": "HTTP", "port": port}]});
    object(&format!("{GATEWAY_API}/v1"), "Gateway", "web", &spec)
}

/// The route of the host `NAME.test`.
pub(crate) fn route(name: &str, rule: &Value) -> Value {
    let spec = json!({"parentRefs": [{"name": "web"}], "hostnames": [format!("{name}.test")], "rules": [rule]});
    object(&format!("{GATEWAY_API}/v1"), "HTTPRoute", name, &spec)
}

pub(crate) fn forward(service: &str) -> Value {
    json!({"backendRefs": [{"name": service, "port": 80}]})
}

pub(crate) fn service(name: &str, port: u16, protocol: Option<&str>) -> [Value; 2] {
    let mut of_service = json!({"name": "http", "port": 80});
    if let Some(protocol) = protocol {
        of_service["appProtocol"] = json!(protocol);
    }
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"ports": [of_service]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"]}],
        }),
    ]
}

/// A policy about a route, or about the whole Gateway.
pub(crate) fn policy(kind: &str, name: &str, target: (&str, &str), spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["targetRefs"] = json!([{"group": GATEWAY_API, "kind": target.0, "name": target.1}]);
    object(POLICIES, kind, name, &spec)
}

/// A file of objects.
pub(crate) fn text<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let documents: Vec<String> = objects.into_iter().map(ToString::to_string).collect();
    documents.join("\n---\n")
}
