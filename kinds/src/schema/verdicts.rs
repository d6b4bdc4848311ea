//! Verdicts that a real API server gave on objects at the edge of what it takes: each row is a specification and either
//! nothing, or a field the server complained about.

use serde_json::{Value, json};

use super::admit;
use crate::Kind;

/// The fields refused, sorted, without doubles.
fn refused(kind: Kind, version: &str, spec: &Value) -> Vec<String> {
    let mut object = json!({ "spec": spec });
    let violations = admit(kind, kind.group(), version, &mut object);
    let mut paths: Vec<String> = violations.iter().filter(|v| !v.tolerated).map(|v| v.path.to_string()).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn gateway(listeners: Value) -> Value {
    json!({ "gatewayClassName": "c", "listeners": listeners })
}

fn route(rule: Value) -> Value {
    json!({ "parentRefs": [{ "name": "gw" }], "rules": [rule] })
}

fn path(kind: &str, value: &str) -> Value {
    route(json!({ "matches": [{ "path": { "type": kind, "value": value } }] }))
}

fn times(count: usize, of: impl Fn(usize) -> Value) -> Value {
    Value::Array((0..count).map(of).collect())
}

fn check(rows: Vec<(Kind, &str, Value, Option<&str>)>) {
    for (kind, version, spec, wanted) in rows {
        let found = refused(kind, version, &spec);
        match wanted {
            None => assert!(found.is_empty(), "{kind} {spec} is refused at {found:?}"),
            Some(path) => assert!(found.iter().any(|at| at == path), "{kind} {spec}: {found:?} and not {path}"),
        }
    }
}

#[test]
fn gateways() {
    let tls = |tls: Value| gateway(json!([{ "name": "a", "protocol": "HTTPS", "port": 443, "tls": tls }]));
    let rows = vec![
        (tls(json!({ "mode": "Terminate" })), Some("spec.listeners[0].tls")),
        (tls(json!({ "certificateRefs": [{ "name": "s" }] })), None),
        (gateway(json!([{ "name": "a", "protocol": "HTTPS", "port": 443 }])), None),
        (gateway(json!([{ "name": "a", "protocol": "htpp", "port": 80 }])), None),
        (
            gateway(
                json!([{ "name": "a", "protocol": "HTTP", "port": 80 }, { "name": "b", "protocol": "HTTPS", "port": 80 }]),
            ),
            None,
        ),
        (
            gateway(
                json!([{ "name": "a", "protocol": "HTTP", "port": 80, "allowedRoutes": { "namespaces": { "from": "Selector" } } }]),
            ),
            None,
        ),
        (
            gateway(
                json!([{ "name": "a", "protocol": "HTTP", "port": 80 }, { "name": "b", "protocol": "HTTP", "port": 80 }]),
            ),
            Some("spec.listeners"),
        ),
        (
            gateway(json!([{ "name": "a", "protocol": "HTTP", "port": 80, "tls": { "mode": "Passthrough" } }])),
            Some("spec.listeners"),
        ),
        (
            gateway(json!([{ "name": "a", "protocol": "TCP", "port": 80, "hostname": "a.example.com" }])),
            Some("spec.listeners"),
        ),
        (
            gateway(times(65, |i| json!({ "name": format!("l{i}"), "protocol": "HTTP", "port": i + 1 }))),
            Some("spec.listeners"),
        ),
        (gateway(times(64, |i| json!({ "name": format!("l{i}"), "protocol": "HTTP", "port": i + 1 }))), None),
    ];
    check(rows.into_iter().map(|(spec, wanted)| (Kind::Gateway, "v1", spec, wanted)).collect());
}

#[test]
fn routes() {
    let backend = |backend: Value| route(json!({ "backendRefs": [backend] }));
    let at_path = Some("spec.rules[0].matches[0].path");
    let mut rows = vec![
        (json!({ "hostnames": ["a.example.com", "a.example.com"] }), None),
        (
            route(
                json!({ "matches": [{ "headers": [{ "name": "x-a", "value": "1" }, { "name": "X-A", "value": "1" }] }] }),
            ),
            None,
        ),
        (json!({ "parentRefs": [{ "name": "gw" }, { "name": "gw", "namespace": "default" }] }), None),
        (json!({ "parentRefs": [{ "name": "gw" }, { "name": "gw" }] }), Some("spec.parentRefs")),
        (json!({ "parentRefs": [{ "name": "gw", "sectionName": "a" }, { "name": "gw", "sectionName": "b" }] }), None),
        (backend(json!({ "name": "s", "port": 80, "weight": null })), None),
        (backend(json!({ "name": "s" })), Some("spec.rules[0].backendRefs[0]")),
        (backend(json!({ "name": "s", "port": 0 })), Some("spec.rules[0].backendRefs[0].port")),
        (backend(json!({ "name": "s", "kind": "Backend", "group": "gateway.envoyproxy.io" })), None),
        (path("RegularExpression", "no//such[path"), None),
        (route(json!({ "filters": [{ "type": "URLRewrite" }] })), Some("spec.rules[0].filters[0]")),
        (route(json!({ "timeouts": { "request": "1s", "backendRequest": "2s" } })), Some("spec.rules[0].timeouts")),
        (
            route(json!({
                "backendRefs": [{ "name": "s", "port": 80 }],
                "filters": [{ "type": "RequestRedirect", "requestRedirect": { "hostname": "b.example.com" } }],
            })),
            Some("spec.rules[0]"),
        ),
        (json!({ "hostnames": times(17, |i| json!(format!("h{i}.example.com"))) }), Some("spec.hostnames")),
        (json!({ "rules": times(17, |_| json!({})) }), Some("spec.rules")),
        (
            json!({ "rules": times(16, |r| json!({ "matches": times(9, |m| json!({ "path": { "value": format!("/{r}/{m}") } })) })) }),
            Some("spec.rules"),
        ),
    ];
    for bad in ["a", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a%2Fb", "/a#b", "/a/..", "/a/.", "/a b"] {
        rows.push((path("Exact", bad), at_path));
        rows.push((path("PathPrefix", bad), at_path));
    }
    check(rows.into_iter().map(|(spec, wanted)| (Kind::HttpRoute, "v1", spec, wanted)).collect());
}

#[test]
fn ai_routes() {
    let rule = |rule: Value| json!({ "parentRefs": [{ "name": "gw", "kind": "Gateway", "group": "gateway.networking.k8s.io" }], "rules": [rule] });
    let rows = [
        (json!({ "rules": [{ "backendRefs": [{ "name": "b" }] }] }), None),
        (json!({ "rules": [] }), None),
        (
            rule(json!({ "backendRefs": [{ "name": "b" }], "timeouts": { "request": "1s", "backendRequest": "2s" } })),
            Some("spec.rules[0].timeouts"),
        ),
        (
            rule(
                json!({ "backendRefs": [{ "name": "p", "group": "inference.networking.k8s.io", "kind": "InferencePool" }, { "name": "b" }] }),
            ),
            Some("spec.rules[0]"),
        ),
        (
            rule(json!({ "backendRefs": [{ "name": "p", "group": "inference.networking.k8s.io" }] })),
            Some("spec.rules[0].backendRefs[0]"),
        ),
    ];
    for version in ["v1alpha1", "v1beta1"] {
        check(rows.iter().map(|(spec, wanted)| (Kind::AiGatewayRoute, version, spec.clone(), *wanted)).collect());
    }
}

/// An older form in one place excuses nothing in another.
#[test]
fn older_forms_excuse_only_themselves() {
    let spec = json!({
        "targetRefs": [{ "name": "gw", "kind": "Gateway", "group": "gateway.networking.k8s.io" }],
        "rules": [{ "backendRefs": [{ "name": "b" }], "timeouts": { "request": "1s", "backendRequest": "2s" } }],
    });
    assert_eq!(refused(Kind::AiGatewayRoute, "v1alpha1", &spec), ["spec.rules[0].timeouts"]);
    let backend = |backend: Value| json!({ "schema": { "name": "OpenAI" }, "backendRef": backend, "timeouts": { "request": "1s" } });
    let service = backend(json!({ "name": "s", "kind": "Service", "port": 80 }));
    assert!(refused(Kind::AiServiceBackend, "v1alpha1", &service).is_empty());
    let without_port = backend(json!({ "name": "s", "kind": "Service" }));
    assert_eq!(refused(Kind::AiServiceBackend, "v1alpha1", &without_port), ["spec.backendRef"]);
}

#[test]
fn policies() {
    let target = json!([{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g" }]);
    let traffic = |field: &str, value: Value| json!({ "targetRefs": target, field: value });
    let rows = vec![
        (Kind::BackendTrafficPolicy, traffic("rateLimit", json!({ "type": "Global" })), None),
        (Kind::BackendTrafficPolicy, traffic("rateLimit", json!({ "global": { "rules": [] } })), None),
        (Kind::BackendTrafficPolicy, json!({ "targetRefs": target }), None),
        (
            Kind::BackendTrafficPolicy,
            json!({ "targetRefs": [{ "group": "aigateway.envoyproxy.io", "kind": "AIGatewayRoute", "name": "r" }] }),
            Some("spec"),
        ),
        (Kind::BackendTrafficPolicy, json!({}), Some("spec")),
        (
            Kind::BackendTrafficPolicy,
            traffic("rateLimit", json!({ "global": { "rules": [{ "limit": { "requests": 1, "unit": "Month" } }] } })),
            None,
        ),
        (
            Kind::BackendTrafficPolicy,
            traffic(
                "rateLimit",
                json!({ "global": { "rules": [{ "limit": { "requests": 1, "unit": "Fortnight" } }] } }),
            ),
            Some("spec.rateLimit.global.rules[0].limit.unit"),
        ),
        (
            Kind::SecurityPolicy,
            traffic(
                "apiKeyAuth",
                json!({ "credentialRefs": [{ "kind": "ConfigMap", "name": "k" }], "extractFrom": [{ "headers": ["x-key"] }] }),
            ),
            None,
        ),
    ];
    check(rows.into_iter().map(|(kind, spec, wanted)| (kind, "v1alpha1", spec, wanted)).collect());
    for (merge, wanted) in [("Replace", Some("spec.mergeType")), ("Deep", None)] {
        let route = json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r" }]);
        let spec = json!({ "targetRefs": route, "mergeType": merge });
        check(vec![(Kind::BackendTrafficPolicy, "v1alpha1", spec, wanted)]);
    }
}

#[test]
fn pools_and_credentials() {
    let pool = json!({ "selector": { "matchLabels": { "app": "m" } }, "targetPorts": [{ "number": 8000 }] });
    let mut many = pool.clone();
    many["targetPorts"] = times(9, |i| json!({ "number": 8000 + i }));
    let mut twice = pool.clone();
    twice["targetPorts"] = json!([{ "number": 8000 }, { "number": 8000 }]);
    let key = json!({ "type": "APIKey", "apiKey": { "secretRef": { "kind": "ConfigMap", "name": "k" } } });
    check(vec![
        (Kind::InferencePool, "v1", pool, None),
        (Kind::InferencePool, "v1", many, Some("spec.targetPorts")),
        (Kind::InferencePool, "v1", twice, Some("spec.targetPorts")),
        (Kind::BackendSecurityPolicy, "v1beta1", key, None),
        (Kind::BackendSecurityPolicy, "v1beta1", json!({ "type": "APIKey" }), Some("spec")),
    ]);
}
