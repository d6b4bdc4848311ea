//! Which requests a rule counts, and which it tells apart.

use testkit::{Echo, HttpClient, free_port};

use crate::gateway::{Gateway, app, gateway};

/// A rule that lets two requests a year through: requests that share its counter, each as often as it takes, and
/// requests that it is not about.
struct Case {
    name: &'static str,
    selector: &'static str,
    counted: &'static [&'static [(&'static str, &'static str)]],
    free: &'static [(&'static str, &'static str)],
}

/// Headers of a request, or its `:method` and `:path`.
async fn send(port: u16, request: &[(&str, &str)]) -> u16 {
    let field = |name: &str, usual: &'static str| {
        request.iter().find(|(key, _)| *key == name).map_or(usual.to_owned(), |(_, value)| (*value).to_owned())
    };
    let headers = request.iter().filter(|(name, _)| !name.starts_with(':'));
    let client = headers.fold(HttpClient::new(port), |client, (name, value)| client.header(name, value));
    let method = field(":method", "GET").parse().unwrap();
    client.send(method, &field(":path", "/"), "").await.unwrap().status.as_u16()
}

const CASES: [Case; 11] = [
    Case {
        name: "exact header",
        selector: "headers: [{name: x-org, value: one}]",
        counted: &[&[("x-org", "one")], &[("x-org", "one"), (":method", "POST")]],
        free: &[("x-org", "two")],
    },
    Case {
        name: "header by pattern",
        selector: "headers: [{name: x-org, type: RegularExpression, value: 'o.*'}]",
        counted: &[&[("x-org", "one")], &[("x-org", "other")]],
        free: &[("x-org", "xone")],
    },
    Case {
        name: "inverted header",
        selector: "headers: [{name: x-org, value: one, invert: true}]",
        counted: &[&[("x-org", "two")], &[]],
        free: &[("x-org", "one")],
    },
    Case {
        name: "distinct header",
        selector: "headers: [{name: x_user, type: Distinct}]",
        counted: &[&[("x_user", "a")]],
        free: &[],
    },
    Case {
        name: "path",
        selector: "path: {value: /v1}",
        counted: &[&[(":path", "/v1")], &[(":path", "/v1/a?b=c")]],
        free: &[(":path", "/v1a")],
    },
    Case {
        name: "inverted path",
        selector: "path: {type: Exact, value: /health, invert: true}",
        counted: &[&[(":path", "/")], &[(":path", "/health/x")]],
        free: &[(":path", "/health?x=1")],
    },
    Case {
        name: "methods",
        selector: "methods: [{value: POST}, {value: PUT}]",
        counted: &[&[(":method", "POST")], &[(":method", "PUT")]],
        free: &[(":method", "GET")],
    },
    Case {
        name: "inverted method",
        selector: "methods: [{value: GET, invert: true}]",
        counted: &[&[(":method", "POST")], &[(":method", "DELETE")]],
        free: &[(":method", "GET")],
    },
    Case {
        name: "query",
        selector: "queryParams: [{name: tier, value: free}]",
        counted: &[&[(":path", "/?tier=free")], &[(":path", "/a?x=1&tier=free")]],
        free: &[(":path", "/?tier=paid")],
    },
    Case {
        name: "inverted query",
        selector: "queryParams: [{name: tier, value: paid, invert: true}]",
        counted: &[&[(":path", "/?tier=free")], &[(":path", "/")]],
        free: &[(":path", "/?tier=paid")],
    },
    Case {
        name: "source",
        selector: "sourceCIDR: {value: 127.0.0.0/8}",
        counted: &[&[]],
        free: &[("x-forwarded-for", "10.0.0.1")],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_selector_counts_what_it_says() {
    let server = Echo::start("app").await.unwrap();
    for scope in ["global", "local"] {
        for case in &CASES {
            // Envoy refuses headers with underscores unless it is told otherwise.
            let (name, selector) = (case.name, case.selector.replace("x_user", "x-user"));
            let port = free_port();
            let policy = format!(
                "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: limits, namespace: default}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}}]
  rateLimit:
    {scope}:
      rules:
      - clientSelectors: [{{{selector}}}]
        limit: {{requests: 2, unit: Year}}
"
            );
            let gateway = Gateway::start("default/ai", port, &(gateway(port) + &app(&server) + &policy), &[]).await;
            if name != "source" {
                assert_eq!(send(port, case.free).await, 200, "{name}");
                assert_eq!(send(port, case.free).await, 200, "{name}");
                assert_eq!(send(port, case.free).await, 200, "{scope} {name}: not counted");
            }
            let counted = |index: usize| {
                let request = case.counted[index % case.counted.len()];
                request.iter().map(|(key, value)| (if *key == "x_user" { "x-user" } else { *key }, *value)).collect()
            };
            let mut statuses = Vec::new();
            for index in 0..3 {
                let request: Vec<(&str, &str)> = counted(index);
                statuses.push(send(port, &request).await);
            }
            assert_eq!(statuses, [200, 200, 429], "{scope} {name}: {}", gateway.envoy.log());
            if name == "distinct header" {
                assert_eq!(send(port, &[("x-user", "b")]).await, 200, "another value has a counter of its own");
            }
        }
    }
}
