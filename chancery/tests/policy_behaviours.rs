//! What policies do to real requests, through a stock Envoy.
//!
//! `tests/policies/*.yaml` are lists of cases. A case has a host of its own (`CASE.test`), a route that its policies are
//! about, and requests with what is expected of each. All the cases of a file share a Gateway, a control plane and an
//! Envoy. A case with `listener` has a listener of its own too, which its ClientTrafficPolicy is about.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Chancery, Echo, Envoy, HttpClient, Reply, eventually, free_port};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    /// Policies about the case's route: a kind and a spec without targets.
    #[serde(default)]
    policies: Vec<Policy>,
    /// Anything else, as it stands.
    #[serde(default)]
    objects: Vec<Value>,
    /// Fields laid over the case's HTTPRoute rule.
    #[serde(default)]
    rule: Option<Value>,
    /// The spec of a ClientTrafficPolicy about a listener of the case's own.
    #[serde(default)]
    listener: Option<Value>,
    requests: Vec<Ask>,
}

#[derive(Deserialize)]
struct Policy {
    kind: String,
    spec: Value,
    #[serde(default)]
    name: Option<String>,
    /// What the policy is about, if not the case's route.
    #[serde(default)]
    targets: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    /// A body of this many bytes.
    #[serde(default)]
    bytes: Option<usize>,
    #[serde(default)]
    http2: bool,
    /// How often the request is sent; the last answer counts.
    #[serde(default)]
    times: Option<usize>,
    status: u16,
    /// Headers that the backend saw: null for one that it did not see.
    #[serde(default)]
    seen: BTreeMap<String, Value>,
    /// Headers of the answer: null for one that is not there, `*` for any value.
    #[serde(default)]
    answered: BTreeMap<String, Value>,
    /// A part of the answer's body.
    #[serde(default)]
    contains: Option<String>,
    /// The answer takes at least this long.
    #[serde(default)]
    slower_than_ms: Option<u64>,
}

const POLICIES: &str = "gateway.envoyproxy.io/v1alpha1";
const NAMESPACE: &str = "default";

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

/// The objects of a case, its port among them where it has one.
fn objects(case: &Case, port: Option<u16>) -> Vec<Value> {
    let name = &case.case;
    let mut rule = json!({"backendRefs": [{"name": "app", "port": 80}]});
    if let Some(over) = case.rule.as_ref().and_then(Value::as_object) {
        for (field, value) in over {
            rule[field] = value.clone();
        }
    }
    let mut parent = json!({"name": "web", "sectionName": "http"});
    let mut all = Vec::new();
    if let Some(spec) = &case.listener {
        parent["sectionName"] = json!(name);
        let mut spec = spec.clone();
        spec["targetRefs"] =
            json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web", "sectionName": name}]);
        all.push(object(POLICIES, "ClientTrafficPolicy", name, &spec));
        assert!(port.is_some());
    }
    all.push(object(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        name,
        &json!({"parentRefs": [parent], "hostnames": [format!("{name}.test")], "rules": [rule]}),
    ));
    for (index, policy) in case.policies.iter().enumerate() {
        let mut spec = policy.spec.clone();
        spec["targetRefs"] = policy
            .targets
            .clone()
            .unwrap_or_else(|| json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}]));
        let own = policy.name.clone().unwrap_or_else(|| format!("{name}-{index}"));
        all.push(object(POLICIES, &policy.kind, &own, &spec));
    }
    all.extend(case.objects.iter().cloned());
    all
}

fn service(name: &str, port: u16) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": port}], "endpoints": [{"addresses": ["127.0.0.1"]}],
        }),
    ]
}

async fn send(port: u16, case: &Case, ask: &Ask) -> anyhow::Result<Reply> {
    let mut client = HttpClient::new(port).host(&format!("{}.test", case.case));
    for (name, value) in &ask.headers {
        client = client.header(name, value);
    }
    if ask.http2 {
        client = client.http2();
    }
    let body = ask.body.clone().unwrap_or_else(|| "x".repeat(ask.bytes.unwrap_or(0)));
    let method = ask.method.as_deref().unwrap_or(if body.is_empty() { "GET" } else { "POST" });
    client.send(method.parse()?, ask.path.as_deref().unwrap_or("/"), body).await
}

/// What is not as expected; none where all is.
fn difference(ask: &Ask, reply: &Reply) -> Option<String> {
    if reply.status.as_u16() != ask.status {
        return Some(format!("status {} and not {}: {}", reply.status, ask.status, reply.text()));
    }
    let seen = reply.json();
    for (name, expected) in &ask.seen {
        let found = seen["headers"][name].as_array().and_then(|values| values.first()).cloned().unwrap_or_default();
        let agrees = if expected == "*" { !found.is_null() } else { found == *expected };
        if !agrees {
            return Some(format!("the backend saw {name}: {found} and not {expected}"));
        }
    }
    for (name, expected) in &ask.answered {
        let found = reply.header(name).map_or(Value::Null, |value| json!(value));
        let agrees = if expected == "*" { !found.is_null() } else { found == *expected };
        if !agrees {
            return Some(format!("the answer has {name}: {found} and not {expected}"));
        }
    }
    if let Some(part) = ask.contains.as_ref().filter(|part| !reply.text().contains(part.as_str())) {
        return Some(format!("`{part}` is not in the answer: {}", reply.text()));
    }
    None
}

/// The last answer to a request that may be sent several times.
async fn outcome(port: u16, case: &Case, ask: &Ask) -> Option<String> {
    let begin = std::time::Instant::now();
    let mut last = Some("it was never sent".to_owned());
    for _ in 0..ask.times.unwrap_or(1) {
        last = match send(port, case, ask).await {
            Ok(reply) => difference(ask, &reply),
            Err(error) if ask.status == 0 => {
                let _ = error;
                None
            }
            Err(error) => Some(format!("no answer: {error}")),
        };
    }
    let least = Duration::from_millis(ask.slower_than_ms.unwrap_or(0));
    if last.is_none() && begin.elapsed() < least {
        return Some(format!("answered after {:?}, sooner than {least:?}", begin.elapsed()));
    }
    last
}

async fn run(text: &str) {
    let app = Echo::start("app").await.unwrap();
    let other = Echo::start("other").await.unwrap();
    let text = text.replace("OTHER_PORT", &other.port.to_string()).replace("APP_PORT", &app.port.to_string());
    let cases: Vec<Case> = serde_saphyr::from_str(&text).unwrap();
    let shared = free_port();
    let mut listeners = vec![json!({"name": "http", "protocol": "HTTP", "port": shared})];
    let mut all: Vec<Value> = service("app", app.port).into_iter().chain(service("other", other.port)).collect();
    let mut ports = Vec::new();
    for case in &cases {
        let own = case.listener.as_ref().map(|_| free_port());
        if let Some(port) = own {
            listeners.push(json!({"name": case.case, "protocol": "HTTP", "port": port}));
        }
        all.extend(objects(case, own));
        ports.push(own.unwrap_or(shared));
    }
    all.push(object(
        "gateway.networking.k8s.io/v1",
        "Gateway",
        "web",
        &json!({"gatewayClassName": "chancery", "listeners": listeners}),
    ));
    let file: Vec<String> = all.iter().map(ToString::to_string).collect();
    let control =
        Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &file.join("\n---\n"))]).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &[]).await.unwrap();
    let envoy = Envoy::start(&bootstrap).await.unwrap();
    let up = || async { HttpClient::new(shared).host("ready.test").get("/").await.ok().map(|_| ()) };
    eventually("the listener answers", Duration::from_secs(20), up).await;

    let mut failures = Vec::new();
    for (case, port) in cases.iter().zip(&ports) {
        for (index, ask) in case.requests.iter().enumerate() {
            // The first request waits until the configuration has arrived; the others say what it does.
            let mut found = outcome(*port, case, ask).await;
            let begin = std::time::Instant::now();
            while found.is_some() && ask.times.is_none() && begin.elapsed() < Duration::from_secs(3) {
                tokio::task::yield_now().await;
                found = outcome(*port, case, ask).await;
            }
            if let Some(difference) = found {
                failures.push(format!("{}, request {index}: {difference}", case.case));
            }
        }
    }
    let mut rejected = Vec::new();
    for stat in ["listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected"] {
        if envoy.stat(stat).await > 0 {
            rejected.push(stat);
        }
    }
    let log: String =
        envoy.log().lines().filter(|line| line.contains("rejected")).take(20).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty() && rejected.is_empty(), "{}\n{rejected:?}\n{log}", failures.join("\n"));
}

macro_rules! files {
    ($($name:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            run(include_str!(concat!("policies/", stringify!($name), ".yaml"))).await;
        }
    )+};
}

files! { client security traffic }
