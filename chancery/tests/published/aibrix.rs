//! Envoy AI Gateway before a model of AIBrix.

use std::net::{Ipv4Addr, SocketAddr};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::model_gateway::{PROTOCOLS, backend};
use testkit::{Authority, Dns, Echo, HttpClient, free_port, own_address};

use crate::{CHAT, Surroundings, patched};

const MANIFESTS: &str = include_str!("../../../testdata/ai/aibrix/input.yaml");
const GATEWAY: &str = "envoy-gateway-system/aibrix-ai-gateway";
const DEEPSEEK: &str = "deepseek-r1-distill-llama-8b";
const LLAMA: &str = "meta-llama/Llama-3.2-1B-Instruct";
const ISSUER: &str = "dev-xtsht1rd77wbvbyp.us.auth0.com";

/// What the guide's reader has from the steps before: the Gateway and the other model.
fn beside(port: u16, llama: u16) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: aibrix-ai-gateway, namespace: envoy-gateway-system}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
{}",
        backend("vllm-llama3-1b", llama, "{name: OpenAI}", "")
            .replace("namespace: default", "namespace: envoy-gateway-system")
    )
}

/// The two models, at an address that every name has.
async fn servers(address: Ipv4Addr) -> (Simulator, Simulator, Dns) {
    let dns = Dns::start_with(address).await.unwrap();
    // At the port that the guide's Backend names.
    let deepseek =
        Simulator::bind(Options::new("deepseek", DEEPSEEK), SocketAddr::from((address, 8000))).await.unwrap();
    (deepseek, Simulator::start(Options::new("llama", LLAMA)).await.unwrap(), dns)
}

fn body(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi."}]})
}

async fn ask(client: HttpClient, model: &str) -> (u16, Option<String>) {
    let reply = client.post_json(CHAT, &body(model)).await.unwrap();
    (reply.status.as_u16(), reply.header("x-sim-server").map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_promises() {
    for protocol in PROTOCOLS {
        let (deepseek, llama, dns) = servers(own_address()).await;
        let surroundings = Surroundings::new(dns, &Authority::new("roots").unwrap());
        let port = free_port();
        let manifests = MANIFESTS.to_owned() + &beside(port, llama.port());
        let gateway = surroundings.start(GATEWAY, port, &manifests, protocol).await;
        let client = || HttpClient::new(port);
        gateway.ready_for(&client().header("x-api-key", "premium-key"), DEEPSEEK).await;
        // Three rules: two models, and one for all others, which its server does not know.
        let key = || client().header("x-api-key", "premium-key");
        assert_eq!(ask(key(), DEEPSEEK).await, (200, Some("deepseek".to_owned())));
        assert_eq!(ask(key(), LLAMA).await, (200, Some("llama".to_owned())));
        assert_eq!(ask(key(), "another").await, (404, Some("llama".to_owned())));
        let bearer = client().header("authorization", "Bearer free-key");
        assert_eq!(ask(bearer, LLAMA).await, (200, Some("llama".to_owned())));
        // Callers without a key, or with a wrong one.
        for (name, value) in [("x-other", "premium-key"), ("x-api-key", "wrong"), ("authorization", "Bearer wrong")] {
            let reply = client().header(name, value).post_json(CHAT, &body(LLAMA)).await.unwrap();
            assert_eq!(reply.status, 401, "{name}: {value}");
            assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text());
        }
        assert_eq!(client().get("/v1/models").await.unwrap().status, 401);
        for seen in deepseek.requests().iter().chain(&llama.requests()) {
            assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (None, None), "the key stays here");
        }
        let list = key().get("/v1/models").await.unwrap().json();
        let listed =
            |field: &str| list["data"].as_array().unwrap().iter().map(|one| one[field].clone()).collect::<Vec<_>>();
        assert_eq!(listed("id"), [json!(DEEPSEEK), json!(LLAMA)]);
        assert_eq!(listed("owned_by"), [json!("Envoy AI Gateway"), json!("Envoy AI Gateway")]);
        // The guide puts two policies on one Gateway, of which the older is in force: its reader is told.
        let findings = HttpClient::new(gateway.control.admin).get("/diagnostics").await.unwrap().text();
        assert!(findings.contains("has SecurityPolicy envoy-gateway-system/api-key-auth already"), "{findings}");
    }
}

/// Who issues tokens: its key, as it publishes it, and as it signs with it.
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn published(&self) -> String {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..65]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": x, "y": y}]})
            .to_string()
    }

    fn token(&self, audience: &str) -> String {
        let claims = json!({
            "iss": format!("https://{ISSUER}/"), "aud": audience, "exp": 4_000_000_000_u64,
            "sub": "auth0|alice", "permissions": "read",
        });
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k"});
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.0.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The other of the two policies, by itself.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_hosted_issuer() {
    let authority = Authority::new("roots").unwrap();
    let issuer = Issuer::new();
    let leaf = authority.issue(&[ISSUER]).unwrap();
    let address = own_address();
    let keys = Echo::saying(&issuer.published(), &leaf, SocketAddr::from((address, 0))).await.unwrap();
    let (deepseek, llama, dns) = servers(address).await;
    let surroundings = Surroundings::new(dns, &authority);
    let port = free_port();
    let documents = MANIFESTS.split("\n---\n").filter(|text| !text.contains("name: api-key-auth"));
    let manifests = documents.collect::<Vec<_>>().join("\n---\n")
        + &beside(port, llama.port())
        + &patched(("envoy-gateway-system", "aibrix-ai-gateway"), &format!("external/https/{ISSUER}/443"), keys.port);
    let gateway = surroundings.start(GATEWAY, port, &manifests, &[]).await;
    let audience = format!("https://{ISSUER}/api/v2/");
    let bearer = |token: &str| HttpClient::new(port).header("authorization", &format!("Bearer {token}"));
    let good = bearer(&issuer.token(&audience)).header("x-user-id", "root");
    gateway.ready_for(&good, DEEPSEEK).await;
    let seen = deepseek.requests().pop().unwrap();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-permissions")), (Some("auth0|alice"), Some("read")));
    // Envoy tells a token for somebody else from one that it cannot believe.
    assert_eq!(ask(bearer(&issuer.token("https://elsewhere/")), DEEPSEEK).await.0, 403);
    let others = [bearer(&Issuer::new().token(&audience)), HttpClient::new(port)];
    for client in others {
        assert_eq!(ask(client, DEEPSEEK).await.0, 401);
    }
    assert!(keys.served() > 0);
}
