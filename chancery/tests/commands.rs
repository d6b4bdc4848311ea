//! The commands that read manifests and end: what the real binary prints, and how it exits.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: chancery, listeners: [{name: http, port: 8080, protocol: HTTP}]}
";

const BACKENDS: &str = "
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 9000}]
endpoints: [{addresses: [127.0.0.9]}]
";

fn route(name: &str, host: &str, matches: &str, backend: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{host}]
  rules: [{{matches: {matches}, backendRefs: [{{name: {backend}, port: 80}}]}}]
"
    )
}

fn directory(documents: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("all.yaml"), documents.join("---\n")).unwrap();
    directory
}

fn chancery(command: &str, paths: &[&Path], flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chancery")).arg(command).args(paths).args(flags).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn check_exits_by_severity_and_speaks_three_forms() {
    let bad = directory(&[GATEWAY, &route("r", "a.example", "[{path: {value: /a}}]", "missing")]);
    let text = chancery("check", &[bad.path()], &[]);
    assert!(stdout(&text).contains("all.yaml:"), "{}", stdout(&text));
    let json = chancery("check", &[bad.path()], &["--format", "json"]);
    let findings: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let finding = findings.as_array().unwrap().iter().find(|f| f["object"]["kind"] == "HTTPRoute").unwrap();
    assert!(finding["line"].is_u64() && finding["column"].is_u64(), "{finding}");
    let fails = finding["severity"] == "error";
    assert_eq!(text.status.code(), Some(i32::from(fails)), "{}", stdout(&text));
    assert_eq!(chancery("check", &[bad.path()], &["--fail-on", "warning"]).status.code(), Some(1));
    let sarif = chancery("check", &[bad.path()], &["--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.as_array().unwrap().len());
    assert!(results.iter().all(|result| result["ruleId"].is_string()), "{log:#}");

    let good = directory(&[GATEWAY, BACKENDS, &route("r", "a.example", "[{path: {value: /a}}]", "app")]);
    let output = chancery("check", &[good.path()], &["--severity", "warning"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_eq!(chancery("check", &[good.path()], &["--format", "prose"]).status.code(), Some(2));
}

#[test]
fn explain_names_the_way_and_what_was_passed_over() {
    let exact =
        route("exact", "a.example", "[{path: {type: Exact, value: /x}, headers: [{name: v, value: '2'}]}]", "app");
    let prefix = route("prefix", "a.example", "[{path: {value: /}}]", "app");
    let wide = route("wide", "'*.example'", "[{path: {value: /}}]", "missing");
    let manifests = directory(&[GATEWAY, BACKENDS, &exact, &prefix, &wide]);
    let ask = |flags: &[&str]| stdout(&chancery("explain", &[manifests.path()], flags));

    let story = ask(&["--port", "8080", "--host", "a.example:8080", "--path", "/x"]);
    assert!(
        story.contains("passed over: route httproute/default/exact/rule/0/match/0: header v is missing"),
        "{story}"
    );
    assert!(story.contains("route httproute/default/prefix/rule/0/match/0: takes the request"), "{story}");
    assert!(story.contains("127.0.0.9:9000"), "{story}");

    let story = ask(&["--port", "8080", "--host", "A.example", "--path", "/x?y", "--header", "V: 2"]);
    assert!(story.contains("route httproute/default/exact/rule/0/match/0: takes the request"), "{story}");

    let story = ask(&["--port", "8080", "--host", "b.example"]);
    assert!(story.contains("route httproute/default/wide/rule/0/match/0: takes the request"), "{story}");
    assert!(story.contains("answered 500"), "{story}");

    assert!(ask(&["--port", "8080", "--host", "elsewhere.test"]).contains("answered 404"));
    assert!(ask(&["--port", "81"]).contains("nobody listens on port 81"));
}

#[test]
fn diff_shows_only_what_changes() {
    let old = directory(&[GATEWAY, BACKENDS, &route("r", "a.example", "[{path: {value: /a}}]", "app")]);
    let new = directory(&[GATEWAY, BACKENDS, &route("r", "a.example", "[{path: {value: /b}}]", "app")]);
    let same = chancery("diff", &[old.path(), old.path()], &[]);
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    let changed = chancery("diff", &[old.path(), new.path()], &[]);
    let text = stdout(&changed);
    assert_eq!(changed.status.code(), Some(1), "{text}");
    assert!(text.contains("Gateway default/web: 0 added, 0 removed, 1 changed"), "{text}");
    assert!(text.contains("-") && text.contains("path_separated_prefix: /b"), "{text}");
    assert_eq!(chancery("diff", &[old.path(), Path::new("/nowhere/at/all")], &[]).status.code(), Some(2));
}

#[test]
fn graph_draws_all_or_what_is_connected() {
    let route = route("r", "a.example", "[{path: {value: /}}]", "missing");
    let manifests = directory(&[GATEWAY, BACKENDS, &route]);
    let all = stdout(&chancery("graph", &[manifests.path()], &["--format", "svg"]));
    assert!(all.starts_with("<svg") && all.contains("default/app") && all.contains("not found"), "{all}");
    let some = chancery("graph", &[manifests.path()], &["--format", "svg", "--focus", "HTTPRoute/default/r"]);
    assert!(stdout(&some).contains("default/missing") && !stdout(&some).contains("default/app<"), "{}", stdout(&some));
    let none = chancery("graph", &[manifests.path()], &["--format", "svg", "--focus", "HTTPRoute/default/s"]);
    assert_eq!(none.status.code(), Some(2));
}
