//! Objects of which nothing can be read but what they are about: none of them lets anything through, and each says so.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kinds::{Kind, ObjectId, Origin, parse_admitted};
use serde_json::{Value, json};
use translator::{Change, Options, Translator};

const WORLD: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec: {gatewayClassName: chancery, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
";

/// What is made with a policy of which a field is not what it can be.
fn with(api_version: &str, kind: &str, spec: Value) -> Translator {
    let object = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": "broken", "namespace": "default", "generation": 4}, "spec": spec,
    });
    let unreadable = parse_admitted(object, &Origin::without_text("kubernetes")).unwrap_err();
    assert!(!unreadable.refusal.message.is_empty());
    let mut translator = Translator::new(Options::default());
    let world = kinds::parse_text("world.yaml", WORLD).into_iter().map(|parsed| match parsed {
        kinds::Parsed::Object(object, _) => Change::Put(Arc::from(object)),
        other => panic!("{other:?}"),
    });
    translator.apply(world.chain([Change::Put(Arc::new(unreadable.target.unwrap()))]));
    translator
}

fn said(translator: &Translator, kind: Kind) -> Value {
    let id = ObjectId::new(kind, "default", "broken");
    translator.statuses().get(&id).unwrap().to_value(&id)["ancestors"][0]["conditions"][0].take()
}

fn resource(translator: &Translator, kind: xds_api::ResourceType) -> String {
    let all = translator.resources().into_values().flatten().filter(|resource| resource.kind == kind);
    all.map(|resource| xds_api::to_json(&resource).unwrap()).collect()
}

#[test]
fn a_route_whose_extensions_cannot_be_read_answers_500() {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "app"}]);
    let spec = json!({"targetRefs": target, "extProc": [{"statusOnError": -1}]});
    let translator = with("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy", spec);
    let condition = said(&translator, Kind::EnvoyExtensionPolicy);
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Invalid")));
    assert_eq!(condition["observedGeneration"], 4);
    let routes = resource(&translator, xds_api::ResourceType::RouteConfiguration);
    assert!(routes.replace([' ', '\n'], "").contains("\"status\":500"), "{routes}");
}

#[test]
fn a_server_that_cannot_prove_who_it_is_is_sent_nothing() {
    let target = json!([{"group": "", "kind": "Service", "name": "app"}]);
    let spec = json!({"targetRefs": target, "validation": {"hostname": "app.test", "subjectAltNames": 1}});
    let translator = with("gateway.networking.k8s.io/v1", "BackendTLSPolicy", spec);
    let condition = said(&translator, Kind::BackendTlsPolicy);
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Invalid")));
    let clusters = resource(&translator, xds_api::ResourceType::Cluster);
    assert!(clusters.contains(&"0".repeat(64)), "nobody is trusted: {clusters}");
}
