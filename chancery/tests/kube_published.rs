//! Published guides on a cluster, as their readers follow them: `kubectl apply`, requests, `kubectl get`, `kubectl delete`.
//!
//! One after the other on one API server, with the compatible definitions. What a cluster would add stands beside them:
//! a class, endpoints, a Secret that a command of the guide makes.

#![allow(clippy::unwrap_used)]

mod processor;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::model_gateway::{backend, endpoints};
use testkit::{Authority, Chancery, Dns, Echo, Envoy, HttpClient, KubeApi, eventually, free_port, own_address};

use processor::{Processor, chooses};

const LONG: Duration = Duration::from_secs(60);
const CONTROLLER: &str = "published.test/controller";
const CHAT: &str = "/v1/chat/completions";

macro_rules! guide {
    ($name:literal) => {
        include_str!(concat!("../../testdata/ai/", $name, "/input.yaml"))
    };
}

/// The kinds whose statuses are ours, as `kubectl` names them.
const OURS: &str = "gatewayclasses,gateways,httproutes,aigatewayroutes,aiservicebackends,backendsecuritypolicies,\
    securitypolicies,backendtrafficpolicies,backendtlspolicies,clienttrafficpolicies,envoypatchpolicies,\
    envoyextensionpolicies,backends.gateway.kgateway.dev";

struct Cluster {
    api: KubeApi,
    control: Chancery,
}

/// An address of this machine that endpoints on a cluster may have: no loopback address.
fn outer_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Nothing is sent: it only says which way it would go.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

fn documents(text: &str) -> impl Iterator<Item = (String, Value)> {
    let documents = text.split("\n---\n").filter_map(|text| {
        let inner = text.split("<<EOF").last()?.split("\nEOF").next()?.trim_start_matches("---\n");
        let value: Value = serde_saphyr::from_str(inner).ok()?;
        (value["apiVersion"].is_string() && value["kind"].is_string()).then(|| (inner.to_owned(), value))
    });
    documents.collect::<Vec<_>>().into_iter()
}

impl Cluster {
    async fn start(api: KubeApi, roots: &str) -> Self {
        let definitions = Command::new(env!("CARGO_BIN_EXE_chancery")).arg("crds").output().unwrap();
        api.apply_crds(&String::from_utf8(definitions.stdout).unwrap()).await.unwrap();
        for class in ["envoy-ai-gateway-basic", "kgateway", "chancery"] {
            api.apply(&format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {class}}}\n\
                 spec: {{controllerName: {CONTROLLER}}}\n"
            ))
            .await
            .unwrap();
        }
        let options = [
            "--controller-name",
            CONTROLLER,
            // A class of one guide is Envoy Gateway's, which is not here.
            "--controller-name",
            "gateway.envoyproxy.io/gatewayclass-controller",
            "--lease-namespace",
            "default",
            "--system-roots",
            roots,
        ];
        let control = Chancery::in_cluster(env!("CARGO_BIN_EXE_chancery"), &api.kubeconfig(), &options).await.unwrap();
        Self { api, control }
    }

    /// Applies every object of a guide, as `kubectl apply` does; each has to be taken.
    async fn apply(&self, text: &str) {
        let namespaces: BTreeSet<String> =
            documents(text).filter_map(|(_, v)| v["metadata"]["namespace"].as_str().map(str::to_owned)).collect();
        for namespace in namespaces {
            let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
            self.api.apply(&namespace).await.unwrap();
        }
        for (text, value) in documents(text) {
            let taken = self.api.apply(&text).await;
            assert!(taken.is_ok(), "{} {}: {taken:?}", value["kind"], value["metadata"]["name"]);
        }
    }

    async fn delete(&self, text: &str) {
        let all: Vec<String> = documents(text).map(|(text, _)| text).collect();
        self.api
            .kubectl_with(&["delete", "--wait=false", "--ignore-not-found", "-f", "-"], &all.join("\n---\n"))
            .await
            .unwrap();
    }

    async fn envoy(&self, gateway: &str, names: &Dns) -> Envoy {
        let bootstrap = self.control.bootstrap(gateway, &[]).await.unwrap();
        let bootstrap = bootstrap.replace("static_resources:", &(names.resolver() + "static_resources:"));
        Envoy::start(&bootstrap).await.unwrap()
    }

    async fn column(&self, namespace: &str, kind: &str, name: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.api.kubectl(&["-n", namespace, "get", kind, name, "-o", &path]).await.unwrap()
    }

    async fn becomes(&self, namespace: &str, kind: &str, name: &str, path: &str, wanted: &str) {
        eventually(&format!("{kind} {name}: {path} is {wanted}"), LONG, || async {
            (self.column(namespace, kind, name, path).await == wanted).then_some(())
        })
        .await;
    }

    /// Waits until nothing is written any more.
    async fn settles(&self) {
        let versions = || async {
            let all = self.api.kubectl(&["get", OURS, "-A", "-o", "json"]).await.unwrap();
            let all: Value = serde_json::from_str(&all).unwrap();
            let items = all["items"].as_array().unwrap().iter();
            items
                .map(|item| {
                    let metadata = &item["metadata"];
                    let key = format!("{} {}/{}", item["kind"], metadata["namespace"], metadata["name"]);
                    (key, metadata["resourceVersion"].to_string())
                })
                .collect::<BTreeMap<_, _>>()
        };
        let begin = Instant::now();
        let mut before = versions().await;
        loop {
            // This is a wait for nothing to happen: no condition can end it.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = versions().await;
            if now == before {
                return;
            }
            before = now;
            assert!(begin.elapsed() < LONG, "statuses do not settle");
        }
    }
}

async fn served(client: &HttpClient, path: &str, body: &Value, status: u16) -> testkit::Reply {
    eventually(&format!("{path} is answered {status}"), LONG, || async {
        client.post_json(path, body).await.ok().filter(|reply| reply.status == status)
    })
    .await
}

fn body(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi."}]})
}

const PROGRAMMED: &str = "{.status.conditions[?(@.type=='Programmed')].status}";
const ACCEPTED: &str = "{.status.conditions[?(@.type=='Accepted')].status}";

async fn kserve(cluster: &Cluster, names: &Dns, text: &str, address: Ipv4Addr, limited: bool) {
    let options = Options { completion_tokens: 100, ..Options::new("predictor", "llama3-1b") };
    let server = Simulator::bind(options, SocketAddr::from((address, 0))).await.unwrap();
    let port = free_port();
    let beside = endpoints("kserve-test", "llama3-1b-predictor", server.port());
    let text = text.replace("      port: 80\n", &format!("      port: {port}\n"));
    assert!(text.contains(&format!("      port: {port}\n")));
    cluster.apply(&text).await;
    cluster.apply(&beside.replace("[127.0.0.1]", &format!("[{address}]"))).await;
    let envoy = cluster.envoy("default/envoy-ai-gateway-basic", names).await;
    let client = HttpClient::new(port).header("x-user-id", "alice");
    served(&client, CHAT, &body("llama3-1b"), 200).await;
    let unknown = client.post_json(CHAT, &body("llama4")).await.unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    cluster.becomes("default", "gateway", "envoy-ai-gateway-basic", PROGRAMMED, "True").await;
    cluster.becomes("default", "aigatewayroute", "envoy-ai-gateway", ACCEPTED, "True").await;
    if limited {
        let mut last = client.post_json(CHAT, &body("llama3-1b")).await.unwrap();
        for _ in 0..20 {
            if last.status == 200 {
                last = client.post_json(CHAT, &body("llama3-1b")).await.unwrap();
            }
        }
        assert_eq!((last.status.as_u16(), last.header("x-envoy-ratelimited")), (429, Some("true")), "{}", last.text());
        assert_eq!(last.header("x-ratelimit-limit"), Some("1000, 1000;w=3600"));
        let bob = HttpClient::new(port).header("x-user-id", "bob");
        assert_eq!(bob.post_json(CHAT, &body("llama3-1b")).await.unwrap().status, 200);
    }
    cluster.settles().await;
    let route: Vec<String> =
        documents(&text).filter(|(_, value)| value["kind"] == "AIGatewayRoute").map(|(text, _)| text).collect();
    cluster.delete(&route.join("\n---\n")).await;
    served(&client, CHAT, &body("llama3-1b"), 404).await;
    drop(envoy);
    let rest: Vec<String> =
        documents(&text).filter(|(_, value)| value["kind"] != "AIGatewayRoute").map(|(text, _)| text).collect();
    cluster.delete(&rest.join("\n---\n")).await;
}

async fn kubelb(cluster: &Cluster, names: &Dns, authority: &Authority) {
    let openai = Echo::start_tls("openai", &authority.issue(&["api.openai.com"]).unwrap(), None).await.unwrap();
    let port = free_port();
    let text = guide!("kubelb-kgateway").replace("port: 8080\n", &format!("port: {port}\n"));
    cluster.apply(&text).await;
    let secret = ["-n", "kubelb", "create", "secret", "generic", "openai-secret", "--from-literal"];
    let literal = "Authorization=Bearer sk-of-ours";
    cluster.api.kubectl(&[secret.as_slice(), &[literal]].concat()).await.unwrap();
    // Port 443 is not for tests.
    cluster
        .apply(&format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {{name: port, namespace: kubelb}}
spec:
  targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: ai-gateway}}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: kgateway/kubelb/openai
    operation:
      op: replace
      path: /load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value
      value: {}
",
            openai.port
        ))
        .await;
    let envoy = cluster.envoy("kubelb/ai-gateway", names).await;
    let client = HttpClient::new(port).header("authorization", "Bearer mine");
    let seen = served(&client, "/openai", &json!({"messages": []}), 200).await.json();
    assert_eq!((&seen["path"], &seen["host"]), (&json!(CHAT), &json!("api.openai.com")));
    assert_eq!(seen["headers"]["authorization"], json!(["Bearer sk-of-ours"]));
    cluster.becomes("kubelb", "gateway", "ai-gateway", PROGRAMMED, "True").await;
    let described = cluster.api.kubectl(&["-n", "kubelb", "describe", "gateway", "ai-gateway"]).await.unwrap();
    assert!(described.contains("Attached Routes:  1"), "{described}");
    assert!(!described.contains("sk-of-ours"));
    cluster.settles().await;
    cluster.api.kubectl(&["-n", "kubelb", "delete", "secret", "openai-secret"]).await.unwrap();
    served(&client, "/openai", &json!({"messages": []}), 500).await;
    drop(envoy);
    cluster.delete(&text).await;
}

async fn aibrix(cluster: &Cluster) {
    const DEEPSEEK: &str = "deepseek-r1-distill-llama-8b";
    const LLAMA: &str = "meta-llama/Llama-3.2-1B-Instruct";
    // At the port that the guide's Backend names, and so at an address where nobody else has it.
    let address = own_address();
    let names = Dns::start_with(address).await.unwrap();
    let at = SocketAddr::from((address, 8000));
    let _deepseek = Simulator::bind(Options::new("deepseek", DEEPSEEK), at).await.unwrap();
    let llama = Simulator::start(Options::new("llama", LLAMA)).await.unwrap();
    let port = free_port();
    let text = guide!("aibrix");
    cluster.apply(text).await;
    cluster
        .apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: aibrix-ai-gateway, namespace: envoy-gateway-system}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
{}",
            backend("vllm-llama3-1b", llama.port(), "{name: OpenAI}", "")
                .replace("namespace: default", "namespace: envoy-gateway-system")
        ))
        .await;
    let envoy = cluster.envoy("envoy-gateway-system/aibrix-ai-gateway", &names).await;
    let client = HttpClient::new(port).header("x-api-key", "premium-key");
    let reply = served(&client, CHAT, &body(DEEPSEEK), 200).await;
    assert_eq!(reply.header("x-sim-server"), Some("deepseek"));
    assert_eq!(served(&client, CHAT, &body(LLAMA), 200).await.header("x-sim-server"), Some("llama"));
    assert_eq!(HttpClient::new(port).post_json(CHAT, &body(LLAMA)).await.unwrap().status, 401);
    // Two policies on one Gateway: which is in force stands in their statuses.
    let ancestors = "{.status.ancestors[0].conditions[?(@.type=='Accepted')].status}";
    let mut verdicts = BTreeSet::new();
    for policy in ["api-key-auth", "auth0-jwt-auth"] {
        let said = eventually("the policy has a status", LONG, || async {
            let said = cluster.column("envoy-gateway-system", "securitypolicy", policy, ancestors).await;
            (!said.is_empty()).then_some(said)
        })
        .await;
        verdicts.insert(said);
    }
    assert_eq!(verdicts, ["False".to_owned(), "True".to_owned()].into());
    cluster.settles().await;
    // A key that is taken out of its Secret opens nothing any more.
    cluster.api.kubectl(&["-n", "envoy-gateway-system", "delete", "secret", "valid-api-keys"]).await.unwrap();
    eventually("the key is gone", LONG, || async {
        let reply = client.post_json(CHAT, &body(LLAMA)).await.ok()?;
        (reply.status != 200).then_some(())
    })
    .await;
    drop(envoy);
    cluster.delete(text).await;
}

/// The model is what its processor makes of the body.
async fn semantic_router(cluster: &Cluster) {
    // At the ports that the guide names, and so at an address where nobody else has them.
    let address = own_address();
    let names = Dns::start_with(address).await.unwrap();
    let options = Options { loras: vec!["math-expert".to_owned()], ..Options::new("vllm", "base-model") };
    let server = Simulator::bind(options, SocketAddr::from((address, 8000))).await.unwrap();
    let router = Processor::start(SocketAddr::from((address, 50051)), chooses("math-expert"));
    let port = free_port();
    let text = guide!("semantic-router").replace("port: 80\n", &format!("port: {port}\n"));
    cluster.apply(&text).await;
    let envoy = cluster.envoy("default/semantic-router", &names).await;
    cluster.becomes("default", "gatewayclass", "semantic-router", ACCEPTED, "True").await;
    cluster.becomes("default", "gateway", "semantic-router", PROGRAMMED, "True").await;
    cluster.becomes("default", "aigatewayroute", "semantic-router", ACCEPTED, "True").await;
    let client = HttpClient::new(port);
    assert_eq!(served(&client, CHAT, &body("MoM"), 200).await.json()["model"], "math-expert");
    let seen = server.requests().pop().unwrap();
    assert_eq!(seen.body, body("math-expert").to_string());
    assert_eq!(seen.header("x-selected-model"), Some("math-expert"));
    cluster.settles().await;
    // Without it nobody is served: so the guide has it.
    drop(router);
    eventually("requests are refused", LONG, || async {
        let reply = client.post_json(CHAT, &body("MoM")).await.ok()?;
        matches!(reply.status.as_u16(), 500 | 503).then_some(())
    })
    .await;
    // Without the patch that asks for it, models are what clients call them.
    cluster.api.kubectl(&["delete", "envoypatchpolicy", "ai-gateway-prepost-extproc-patch-policy"]).await.unwrap();
    served(&client, CHAT, &body("MoM"), 404).await;
    assert_eq!(served(&client, CHAT, &body("math-expert"), 200).await.json()["model"], "math-expert");
    drop(envoy);
    cluster.delete(&text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_guides_serve_what_they_promise() {
    let Some(address) = outer_address() else {
        println!("SKIPPED: this machine has no address but loopback ones");
        return;
    };
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    let authority = Authority::new("roots").unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &authority.certificate).unwrap();
    let names = Dns::start().await.unwrap();
    let cluster = Cluster::start(api, roots.path().to_str().unwrap()).await;
    kserve(&cluster, &names, guide!("kserve-basic"), address, false).await;
    kserve(&cluster, &names, guide!("kserve-token-limit"), address, true).await;
    aibrix(&cluster).await;
    semantic_router(&cluster).await;
    kubelb(&cluster, &names, &authority).await;
}
