//! `chancery explain` against what a stock Envoy does with the same requests.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use testkit::{Chancery, Envoy, HttpClient, eventually, free_port};

/// Golden cases with something to decide.
const CASES: [&str; 12] = [
    "hostname-intersection",
    "hosts-in-their-own-tables",
    "match-method-headers-query",
    "matches-are-alternatives",
    "no-hostnames",
    "path-exact",
    "path-prefix",
    "path-regex",
    "precedence-across-routes",
    "precedence-in-a-route",
    "redirect-prefix",
    "wildcard-hostname",
];

/// Answers say by which route they came.
const TELLING: &str = "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: telling, namespace: default}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: web}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.listener.v3.Listener
    name: default/web/http
    operation:
      op: add
      path: /default_filter_chain/filters/0/typed_config/http_filters/0
      value:
        name: telling
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
          mutations:
            response_mutations:
            - append: {header: {key: x-route, value: '%ROUTE_NAME%'}}
";

#[derive(Clone, Debug)]
struct Request {
    host: String,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
}

/// Everything that the routes of a case tell apart, and what lies beside it.
fn requests(text: &str) -> Vec<Request> {
    let text: Arc<str> = text.into();
    let documents = kinds::document::split(&Arc::from("input.yaml"), &text);
    let routes: Vec<Value> = documents
        .iter()
        .filter_map(|document| serde_saphyr::from_str::<Value>(document.text()).ok())
        .filter(|value| value["kind"] == "HTTPRoute")
        .collect();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut hosts: BTreeSet<String> = ["other.test".to_owned()].into();
    let mut paths: BTreeSet<String> = ["/".to_owned(), "/elsewhere".to_owned()].into();
    let mut headers: BTreeSet<Vec<(String, String)>> = [Vec::new()].into();
    let mut methods: BTreeSet<String> = ["GET".to_owned(), "POST".to_owned()].into();
    for route in &routes {
        for host in list(&route["spec"]["hostnames"]) {
            let host = host.as_str().unwrap();
            hosts.extend([
                host.replace('*', "one"),
                host.replace('*', "one.two"),
                format!("deep.{}", host.replace("*.", "")),
            ]);
        }
        for written in list(&route["spec"]["rules"]).iter().flat_map(|rule| list(&rule["matches"])) {
            let query: Vec<String> = list(&written["queryParams"])
                .iter()
                .map(|one| format!("{}={}", one["name"].as_str().unwrap(), one["value"].as_str().unwrap()))
                .collect();
            let path = written["path"]["value"].as_str().unwrap_or("/").trim_end_matches('/');
            for path in [path.to_owned(), format!("{path}/"), format!("{path}/more"), format!("{path}x")] {
                let path = if path.starts_with('/') { path } else { format!("/{path}") };
                let path: String = path.chars().filter(|c| c.is_ascii_alphanumeric() || "/.-_".contains(*c)).collect();
                if !query.is_empty() {
                    paths.insert(format!("{path}?{}", query.join("&")));
                }
                paths.insert(path);
            }
            methods.extend(written["method"].as_str().map(str::to_owned));
            let all: Vec<(String, String)> = list(&written["headers"])
                .iter()
                .map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].as_str().unwrap().to_owned()))
                .collect();
            headers.extend(all.first().map(|first| vec![first.clone()]));
            headers.insert(all);
        }
    }
    let mut found = Vec::new();
    for host in &hosts {
        for path in &paths {
            for headers in &headers {
                for method in &methods {
                    let method = Method::from_bytes(method.as_bytes()).unwrap();
                    found.push(Request { host: host.clone(), method, path: path.clone(), headers: headers.clone() });
                }
            }
        }
    }
    // Enough of them, spread over all.
    let step = found.len().div_ceil(30).max(1);
    found.into_iter().step_by(step).collect()
}

/// The route that is said to take a request.
fn explained(directory: &Path, port: u16, request: &Request) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.arg("explain").arg(directory).args(["--port", &port.to_string()]);
    command.args(["--host", &request.host, "--path", &request.path, "--method", request.method.as_str()]);
    for (name, value) in &request.headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.ends_with(": takes the request"));
    line.map(|line| line.trim_start_matches("route ").trim_end_matches(": takes the request").to_owned())
}

/// How many requests were asked about, and how many of them a route took.
async fn case(name: &str) -> (usize, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/http").join(name).join("input.yaml");
    let port = free_port();
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replacen("protocol: HTTP, port: 80", &format!("protocol: HTTP, port: {port}"), 1);
    assert!(text.contains(&port.to_string()), "{name}: no listener on port 80");
    let files = [("all.yaml", text.as_str()), ("telling.yaml", TELLING)];
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &files).await.unwrap();
    let _envoy = Envoy::start(&control.bootstrap("default/web", &[]).await.unwrap()).await.unwrap();
    eventually("the listener is there", Duration::from_secs(20), || async {
        HttpClient::new(port).get("/").await.ok().map(drop)
    })
    .await;
    let all = requests(&text);
    let mut served = 0;
    for request in &all {
        let mut client = HttpClient::new(port).host(&request.host);
        for (name, value) in &request.headers {
            client = client.header(name, value);
        }
        let reply = client.send(request.method.clone(), &request.path, "").await.unwrap();
        let taken = reply.header("x-route").filter(|route| *route != "-").map(str::to_owned);
        served += usize::from(taken.as_deref().is_some_and(|route| route.starts_with("httproute/")));
        assert_eq!(explained(control.directory(), port, request), taken, "{name}: {request:?}");
    }
    (all.len(), served)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_envoy_does() {
    let (mut asked, mut served) = (0, 0);
    for name in CASES {
        let (more, of_them) = case(name).await;
        asked += more;
        served += of_them;
    }
    assert!(asked > 200 && served > 60, "{asked} requests, {served} of them served");
}
