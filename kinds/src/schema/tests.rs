//! Verdicts as a real API server gave them.

use serde_json::{Value, json};

use super::{Violation, admit};
use crate::Kind;

fn judge(kind: Kind, version: &str, spec: Value) -> (Value, Vec<Violation>) {
    let mut object = json!({ "spec": spec });
    let violations = admit(kind, kind.group(), version, &mut object);
    (object["spec"].take(), violations)
}

fn refused(kind: Kind, version: &str, spec: Value) -> Vec<(String, &'static str)> {
    let (_, violations) = judge(kind, version, spec);
    violations.into_iter().filter(|v| !v.tolerated).map(|v| (v.path.to_string(), v.code)).collect()
}

fn http_route(rule: Value) -> Value {
    json!({ "parentRefs": [{ "name": "gw" }], "rules": [rule] })
}

#[test]
fn accepted() {
    let cases = [
        (
            Kind::Gateway,
            "v1",
            json!({"gatewayClassName": "c", "listeners": [{"name": "a", "protocol": "HTTPS", "port": 443}]}),
        ),
        (
            Kind::Gateway,
            "v1",
            json!({"gatewayClassName": "c", "listeners": [{"name": "a", "protocol": "http", "port": 80}]}),
        ),
        (Kind::HttpRoute, "v1", json!({"hostnames": ["192.168.0.1"]})),
        (
            Kind::HttpRoute,
            "v1",
            http_route(json!({"matches": [{"path": {"type": "RegularExpression", "value": "("}}]})),
        ),
        (Kind::HttpRoute, "v1", http_route(json!({"backendRefs": []}))),
        (
            Kind::BackendTrafficPolicy,
            "v1alpha1",
            json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}], "rateLimit": {"type": "Global"}}),
        ),
        (
            Kind::BackendTlsPolicy,
            "v1alpha3",
            json!({"targetRefs": [{"group": "", "kind": "Service", "name": "s"}], "validation": {"wellKnownCACertificates": "System", "hostname": "a.example.com"}}),
        ),
    ];
    for (kind, version, spec) in cases {
        assert_eq!(refused(kind, version, spec.clone()), [], "{kind} {spec}");
    }
}

#[test]
fn rejected() {
    let route = |rule| (Kind::HttpRoute, "v1", http_route(rule));
    let cases = [
        (route(json!({"backendRefs": [{"name": "s"}]})), "spec.rules[0].backendRefs[0]", "rule-broken"),
        (
            route(json!({"backendRefs": [{"name": "s", "port": 70000}]})),
            "spec.rules[0].backendRefs[0].port",
            "out-of-range",
        ),
        (
            route(json!({"backendRefs": [{"name": "s", "port": "80"}]})),
            "spec.rules[0].backendRefs[0].port",
            "wrong-type",
        ),
        (
            route(json!({"matches": [{"path": {"type": "Glob", "value": "/"}}]})),
            "spec.rules[0].matches[0].path.type",
            "unsupported-value",
        ),
        (
            route(json!({"matches": [{"path": {"kind": "Exact"}}]})),
            "spec.rules[0].matches[0].path.kind",
            "unknown-field",
        ),
        (route(json!({"timeouts": {"request": "1 minute"}})), "spec.rules[0].timeouts.request", "invalid-value"),
        ((Kind::HttpRoute, "v1", json!({"Hostnames": []})), "spec.Hostnames", "unknown-field"),
        ((Kind::HttpRoute, "v1", json!({"hostnames": [""]})), "spec.hostnames[0]", "invalid-value"),
        (
            (Kind::Gateway, "v1", json!({"listeners": [{"name": "a", "protocol": "HTTP", "port": 80}]})),
            "spec.gatewayClassName",
            "missing-field",
        ),
        (
            (
                Kind::Gateway,
                "v1",
                json!({"gatewayClassName": "c", "listeners": [{"name": "a", "protocol": "HTTP", "port": 80}, {"name": "a", "protocol": "HTTP", "port": 81}]}),
            ),
            "spec.listeners[1]",
            "duplicate-entry",
        ),
    ];
    for ((kind, version, spec), path, code) in cases {
        let found = refused(kind, version, spec.clone());
        assert!(found.contains(&(path.to_owned(), code)), "{kind} {spec}: {found:?}");
    }
}

#[test]
fn defaults_nest() {
    let (spec, violations) = judge(Kind::HttpRoute, "v1", json!({}));
    assert_eq!(violations, []);
    assert_eq!(spec["rules"][0]["matches"][0]["path"], json!({"type": "PathPrefix", "value": "/"}));
    let (spec, _) = judge(Kind::HttpRoute, "v1", http_route(json!({"backendRefs": [{"name": "s", "port": 80}]})));
    assert_eq!(spec["rules"][0]["backendRefs"][0]["weight"], 1);
    assert_eq!(spec["parentRefs"][0]["kind"], "Gateway");
}

#[test]
fn a_misspelt_field_is_named_with_the_one_that_was_meant() {
    let (_, violations) = judge(Kind::HttpRoute, "v1", json!({"hostname": ["a.example.com"]}));
    assert_eq!(violations[0].help.as_deref(), Some("did you mean `hostnames`?"));
}

#[test]
fn older_forms_are_read_and_said() {
    let spec = json!({
        "schema": {"name": "OpenAI"},
        "targetRefs": [{"name": "gw", "kind": "Gateway", "group": "gateway.networking.k8s.io"}],
        "rules": [{"backendRefs": [{"name": "b"}]}],
    });
    let (_, violations) = judge(Kind::AiGatewayRoute, "v1alpha1", spec);
    assert!(!violations.is_empty() && violations.iter().all(|violation| violation.tolerated), "{violations:?}");
}

#[test]
fn every_schema_compiles() {
    for info in Kind::TABLE {
        for version in info.versions {
            let name = format!("{}.{}", info.plural, info.group);
            let Some(schema) = super::store::open_api(&name, version) else { continue };
            let compiled = kube_cel::compile_schema(&schema);
            assert!(!compiled.has_errors(), "{name} {version}");
        }
    }
}
