//! Keys are stored once: what is sent grows with keys and routes, never with their product.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::fmt::Write as _;
use std::sync::Arc;

use kinds::{Object, Parsed, parse_text};
use translator::{Change, Options, Translator};
use xds_api::ResourceType;

fn objects(text: &str) -> Vec<Arc<Object>> {
    let parsed = parse_text("all.yaml", text).into_iter();
    parsed
        .map(|parsed| match parsed {
            Parsed::Object(object, _) => Arc::new(*object),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn puts(text: &str) -> Vec<Change> {
    objects(text).into_iter().map(Change::Put).collect()
}

fn secret(keys: usize) -> String {
    let mut text = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: default}\nstringData:\n".to_owned();
    for key in 0..keys {
        let _ = writeln!(text, "  client-{key:04}: secret-key-number-{key:04}");
    }
    text
}

fn world(routes: usize, keys: usize) -> String {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web, namespace: default}\nspec: \
         {gatewayClassName: c, listeners: [{name: http, protocol: HTTP, port: 80}]}\n---\napiVersion: v1\nkind: \
         Service\nmetadata: {name: app, namespace: default}\nspec: {ports: [{name: http, port: 80}]}\n---\napiVersion: \
         gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: keys, namespace: default}\nspec:\n  \
         targetSelectors: [{kind: HTTPRoute, matchLabels: {guarded: 'yes'}}]\n  apiKeyAuth: {credentialRefs: [{name: \
         keys}], extractFrom: [{headers: [x-api-key]}]}\n---\n",
    );
    for route in 0..routes {
        let _ = writeln!(
            text,
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{route}, namespace: default, \
             labels: {{guarded: 'yes'}}}}\nspec: {{parentRefs: [{{name: web}}], hostnames: [r{route}.test], rules: \
             [{{backendRefs: [{{name: app, port: 80}}]}}]}}\n---"
        );
    }
    text + &secret(keys)
}

#[test]
fn a_thousand_keys_on_a_thousand_routes_are_sent_once() {
    let mut translator = Translator::new(Options::default());
    translator.apply(puts(&world(1000, 1000)));
    let resources: Vec<_> = translator.resources().into_values().flatten().collect();
    let holds = |body: &[u8]| body.windows(22).filter(|part| *part == b"secret-key-number-0500").count();
    let times: usize = resources.iter().map(|resource| holds(&resource.body)).sum();
    assert_eq!(times, 1, "a key is in the snapshot once");
    let guarded = resources.iter().filter(|r| r.kind == ResourceType::RouteConfiguration);
    let names: usize =
        guarded.map(|r| r.body.windows(20).filter(|part| *part == b"chancery.guards.keys").count()).sum();
    assert!(names >= 1000, "every route names the guard: {names}");

    // One more key: the filter that holds the keys, and nothing else.
    let update = translator.apply(puts(&secret(1001)));
    let changed: Vec<_> = update.groups.into_values().flat_map(|group| group.set).collect();
    let kinds: Vec<_> = changed.iter().map(|resource| (resource.kind, resource.name.to_string())).collect();
    assert_eq!(kinds, [(ResourceType::ExtensionConfig, "chancery.guards.keys".to_owned())]);
}

/// The bytes of everything that an Envoy is sent.
fn bytes(routes: usize, keys: usize) -> usize {
    let mut translator = Translator::new(Options::default());
    translator.apply(puts(&world(routes, keys)));
    translator.resources().into_values().flatten().map(|resource| resource.body.len()).sum()
}

#[test]
fn bytes_grow_with_keys_and_routes_and_never_with_their_product() {
    let one = bytes(1, 1);
    let (of_routes, of_keys) = (bytes(1000, 1) - one, bytes(1, 1000) - one);
    let (small, large) = (bytes(100, 100), bytes(1000, 1000));
    println!("1x1: {one}, 100x100: {small}, 1000x1000: {large}; 999 routes {of_routes}, 999 keys {of_keys}");
    // Lengths are numbers too: a few bytes more where there is more.
    assert!(large.abs_diff(one + of_routes + of_keys) < 64, "{large} and not {one} + {of_routes} + {of_keys}");
    assert!(large - one < 11 * (small - one), "ten times as many of both is ten times as much: {small}, {large}");
}

#[test]
fn a_policy_edit_touches_no_listener_and_only_the_routes_it_reaches() {
    let mut translator = Translator::new(Options::default());
    translator.apply(puts(&world(50, 1)));
    let mut faults = |route: &str| {
        let policy = format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: {route}, \
             namespace: default}}\nspec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: \
             {route}}}], faultInjection: {{abort: {{httpStatus: 418}}}}}}\n"
        );
        let update = translator.apply(puts(&policy));
        let changed = update.groups.into_values().flat_map(|group| group.set);
        changed.map(|resource| (resource.kind, resource.name.to_string())).collect::<Vec<_>>()
    };
    // The first brings the filter, which was nothing before.
    let first = faults("r7");
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(first[0], (ResourceType::ExtensionConfig, "envoy.filters.http.fault".to_owned()));
    assert_eq!(first[1].0, ResourceType::RouteConfiguration);
    let second = faults("r8");
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0].0, ResourceType::RouteConfiguration);
}
