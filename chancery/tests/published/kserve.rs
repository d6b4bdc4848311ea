//! An InferenceService behind a gateway.

use std::time::Duration;

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::model_gateway::{PROTOCOLS, Start, endpoints};
use testkit::{ModelGateway, eventually, free_port};

use crate::{CHAT, NO_MODEL};

const MANIFESTS: &str = include_str!("../../../testdata/ai/kserve-basic/input.yaml");

async fn start(manifests: &str, port: u16, bootstrap: &[&str]) -> ModelGateway {
    let start = Start { gateway: "default/envoy-ai-gateway-basic", bootstrap, ..Start::default() };
    ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, manifests, start).await.unwrap()
}

fn at(manifests: &str, port: u16, server: u16) -> String {
    manifests.replace("      port: 80\n---", &format!("      port: {port}\n---"))
        + &endpoints("kserve-test", "llama3-1b-predictor", server)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_promises() {
    for protocol in PROTOCOLS {
        let server = Simulator::start(Options::new("predictor", "llama3-1b")).await.unwrap();
        let port = free_port();
        let manifests = at(MANIFESTS, port, server.port());
        let gateway = start(&manifests, port, protocol).await;
        gateway.ready("llama3-1b").await;
        let body = json!({
            "model": "llama3-1b",
            "messages": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "Hi."}],
        });
        let answer = gateway.client().post_json(CHAT, &body).await.unwrap().json();
        assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("llama3-1b")));
        assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
        let usage = ["prompt_tokens", "completion_tokens", "total_tokens"].map(|field| answer["usage"][field].as_u64());
        assert_eq!(usage[0].unwrap() + usage[1].unwrap(), usage[2].unwrap());
        let seen = server.requests().pop().unwrap();
        assert_eq!((seen.path.as_str(), seen.json()), (CHAT, body), "the server sees what was sent");

        let mut streamed = body_of("llama3-1b");
        streamed["stream"] = json!(true);
        let mut stream = gateway.client().stream_json(CHAT, &streamed).await.unwrap();
        let events = stream.events().await.unwrap();
        assert!(events.len() > 10 && events.last().unwrap().data == "[DONE]", "{events:?}");
        for (path, field) in [("/v1/completions", "prompt"), ("/v1/embeddings", "input")] {
            let body = json!({"model": "llama3-1b", field: "some text"});
            assert_eq!(gateway.client().post_json(path, &body).await.unwrap().status, 200, "{path}");
        }
        let unknown = gateway.client().post_json(CHAT, &body_of("llama4")).await.unwrap();
        assert_eq!((unknown.status.as_u16(), unknown.json()["error"]["message"].as_str()), (404, Some(NO_MODEL)));
        let list = gateway.client().get("/v1/models").await.unwrap().json();
        let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, [&json!("llama3-1b")]);

        // Without its grant the route may not reach into another namespace.
        let grant = "kind: ReferenceGrant\nmetadata:\n  name: envoy-gateway-ref-grant\n  namespace: kserve-test";
        assert!(manifests.contains(grant));
        let elsewhere = manifests.replace(grant, &grant.replace("kserve-test", "elsewhere"));
        gateway.control.write("all.yaml", &elsewhere).unwrap();
        eventually("the grant is gone", Duration::from_secs(10), || async {
            let reply = gateway.client().post_json(CHAT, &body_of("llama3-1b")).await.ok()?;
            assert!(matches!(reply.status.as_u16(), 200 | 500), "{}", reply.text());
            (reply.status == 500).then_some(())
        })
        .await;
        let findings = gateway.control.page("/status").await.unwrap().to_string();
        assert!(findings.contains("RefNotPermitted"), "{findings}");
    }
}

fn body_of(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi."}]})
}

/// The lines that the guide leaves commented out.
#[tokio::test(flavor = "multi_thread")]
async fn its_key_can_be_turned_on() {
    let options = Options { api_key: Some("sk-predictor".to_owned()), ..Options::new("predictor", "llama3-1b") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let mut manifests = at(MANIFESTS, port, server.port());
    for line in [
        "backendSecurityPolicyRef:",
        "  name: envoy-ai-gateway-openai-kserve-apikey",
        "  kind: BackendSecurityPolicy",
        "  group: aigateway.envoyproxy.io",
    ] {
        let commented = format!("  # {line}");
        assert!(manifests.contains(&commented), "{line}");
        manifests = manifests.replace(&commented, &format!("  {line}"));
    }
    manifests += "---
apiVersion: v1
kind: Secret
metadata: {name: envoy-ai-gateway-openai-kserve-apikey, namespace: default}
stringData: {apiKey: sk-predictor}
";
    let gateway = start(&manifests, port, &[]).await;
    gateway.ready("llama3-1b").await;
    assert_eq!(server.requests().pop().unwrap().header("authorization"), Some("Bearer sk-predictor"));
}
