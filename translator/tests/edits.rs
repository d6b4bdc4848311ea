//! Random edits: whatever the way, the result is the one from scratch, byte for byte; and the changes that were announced on
//! the way add up to it.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::{Object, ObjectId, Parsed};
use proptest::prelude::*;
use translator::{Change, Options, Translator};
use xds_api::{Resource, ResourceType};

/// One object of a small world in which everything refers to everything.
#[derive(Clone, Debug)]
enum Edit {
    Put(String),
    Remove(String),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![4 => document().prop_map(Edit::Put), 1 => document().prop_map(Edit::Remove)]
}

fn document() -> impl Strategy<Value = String> {
    prop_oneof![
        gateway(),
        route(),
        service(),
        slice(),
        grant(),
        namespace(),
        secret(),
        tls_route(),
        backend_tls_policy()
    ]
}

fn of(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(values)
}

fn gateway() -> impl Strategy<Value = String> {
    let listeners = proptest::sample::subsequence(
        vec![
            "{name: any, protocol: HTTP, port: 80}",
            "{name: wild, protocol: HTTP, port: 80, hostname: '*.example.com', allowedRoutes: {namespaces: {from: All}}}",
            "{name: one, protocol: HTTP, port: 80, hostname: a.example.com}",
            "{name: tls, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: s, namespace: b}]}}",
            "{name: raw, protocol: TLS, port: 8443, tls: {mode: Passthrough}}",
            "{name: labelled, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: x}}}}}",
        ],
        1..=6,
    );
    (of(&["g", "h"]), listeners).prop_map(|(name, listeners)| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: a}}\nspec: {{gatewayClassName: c, listeners: [{}]}}\n",
            listeners.join(", ")
        )
    })
}

fn route() -> impl Strategy<Value = String> {
    let hosts = of(&["[]", "[a.example.com]", "['*.example.com']", "[a.example.com, b.example.com, other.com]"]);
    let parents = of(&[
        "[{name: g, namespace: a}]",
        "[{name: g, namespace: a}, {name: h, namespace: a}]",
        "[{name: g, namespace: a, sectionName: one}]",
        "[{name: h, namespace: a, port: 443}]",
    ]);
    let backends = of(&[
        "[{name: s, port: 80}]",
        "[{name: s, port: 80}, {name: t, namespace: b, port: 80, weight: 3}]",
        "[{name: t, port: 81}]",
        "[]",
    ]);
    (of(&["r", "q", "p"]), of(&["a", "b"]), hosts, parents, backends, of(&["/", "/x", "/y"])).prop_map(
        |(name, namespace, hosts, parents, backends, path)| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  parentRefs: {parents}\n  hostnames: {hosts}\n  rules: [{{matches: [{{path: {{value: {path}}}}}], backendRefs: {backends}}}]\n"
            )
        },
    )
}

fn tls_route() -> impl Strategy<Value = String> {
    (of(&["r", "q"]), of(&["[a.example.com]", "[b.example.com]"])).prop_map(|(name, hosts)| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {{name: {name}, namespace: a}}\nspec: {{parentRefs: [{{name: g}}], hostnames: {hosts}, rules: [{{backendRefs: [{{name: s, port: 80}}]}}]}}\n"
        )
    })
}

fn service() -> impl Strategy<Value = String> {
    (of(&["s", "t"]), of(&["a", "b"]), of(&["80", "81"]), of(&["", ", appProtocol: kubernetes.io/h2c"])).prop_map(
        |(name, namespace, port, protocol)| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: {port}{protocol}}}]}}\n"
            )
        },
    )
}

fn slice() -> impl Strategy<Value = String> {
    (of(&["s", "t"]), of(&["a", "b"]), of(&["[]", "[{addresses: [10.0.0.1]}]", "[{addresses: [10.0.0.2], zone: z}]"])).prop_map(
        |(service, namespace, endpoints)| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8000}}]\nendpoints: {endpoints}\n"
            )
        },
    )
}

fn grant() -> impl Strategy<Value = String> {
    of(&["{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}", "{group: gateway.networking.k8s.io, kind: Gateway, namespace: a}"])
        .prop_map(|from| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: b}}\nspec: {{from: [{from}], to: [{{group: \"\", kind: Service}}, {{group: \"\", kind: Secret}}]}}\n"
            )
        })
}

fn namespace() -> impl Strategy<Value = String> {
    of(&["team: x", "team: y"])
        .prop_map(|label| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: b, labels: {{{label}}}}}\n"))
}

fn secret() -> impl Strategy<Value = String> {
    of(&["one", "two"]).prop_map(|text| {
        let block = |label| format!("-----BEGIN {label}-----\\n{text}\\n-----END {label}-----\\n");
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: b}}\nstringData: {{tls.crt: \"{}\", tls.key: \"{}\"}}\n",
            block("CERTIFICATE"),
            block("PRIVATE KEY")
        )
    })
}

fn backend_tls_policy() -> impl Strategy<Value = String> {
    of(&["x.example.com", "y.example.com"]).prop_map(|host| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: p, namespace: a}}\nspec: {{targetRefs: [{{group: \"\", kind: Service, name: s}}], validation: {{wellKnownCACertificates: System, hostname: {host}}}}}\n"
        )
    })
}

fn object(document: &str) -> Arc<Object> {
    match kinds::parse_text("edit.yaml", document).pop() {
        Some(Parsed::Object(object, _)) => Arc::from(object),
        other => panic!("{document}: {other:?}"),
    }
}

type Held = BTreeMap<(ObjectId, ResourceType, Arc<str>), Resource>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edits_end_where_a_fresh_start_does(edits in proptest::collection::vec(edit(), 1..40)) {
        let mut translator = Translator::new(Options::default());
        let mut world: BTreeMap<ObjectId, Arc<Object>> = BTreeMap::new();
        let mut held = Held::new();
        for edit in edits {
            let change = match edit {
                Edit::Put(document) => {
                    let object = object(&document);
                    world.insert(object.id.clone(), object.clone());
                    Change::Put(object)
                }
                Edit::Remove(document) => {
                    let id = object(&document).id.clone();
                    world.remove(&id);
                    Change::Remove(id)
                }
            };
            for (gateway, change) in translator.apply([change]).groups {
                for resource in change.set {
                    held.insert((gateway.clone(), resource.kind, resource.name.clone()), resource);
                }
                for (kind, name) in change.remove {
                    held.remove(&(gateway.clone(), kind, name));
                }
            }
        }
        let mut fresh = Translator::new(Options::default());
        fresh.apply(world.into_values().map(Change::Put));
        prop_assert_eq!(fresh.resources(), translator.resources());
        prop_assert_eq!(fresh.statuses(), translator.statuses());
        prop_assert_eq!(fresh.diagnostics(), translator.diagnostics());
        let announced: Vec<Resource> = held.into_values().collect();
        let expected: Vec<Resource> = fresh.resources().into_values().flatten().collect();
        prop_assert_eq!(announced, expected);
    }
}
