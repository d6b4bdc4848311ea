//! AI routes through a stock Envoy: which server gets a request, and what it gets to see.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use testkit::model_gateway::{backend, gateway, key, route, rule};
use testkit::{Echo, HttpClient, ModelGateway, Refusing, eventually, free_port};

async fn start(port: u16, manifests: &str) -> ModelGateway {
    ModelGateway::start(env!("CARGO_BIN_EXE_chancery"), port, manifests).await.unwrap()
}

fn header<'a>(seen: &'a Value, name: &str) -> Option<&'a str> {
    seen["headers"][name][0].as_str()
}

/// Nothing of ours is for a server to see.
fn no_internal_headers(seen: &Value) {
    for name in seen["headers"].as_object().unwrap().keys() {
        let internal = ["x-chancery", "x-ai-eg", "x-gateway-destination"].iter().any(|start| name.starts_with(start));
        assert!(!internal, "{name} reached a server: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_model_in_their_body() {
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let port = free_port();
    let rules = rule("small", "[{name: one}]") + &rule("org/large", "[{name: two, modelNameOverride: large-2}]");
    let manifests = gateway(port)
        + &backend("one", one.port, "{name: OpenAI}", "")
        + &backend("two", two.port, "{name: OpenAI, prefix: openai/v1}", "")
        + &key("two", "APIKey", "apiKey", "sk-two")
        + &route(&rules);
    let gateway = start(port, &manifests).await;
    gateway.ready("small").await;

    // The body keeps its bytes, and a client's own header decides nothing.
    let body =
        "{ \"temperature\":1.0, \"model\" : \"small\",\"messages\":[{\"content\":\"\\u00e9 9007199254740993\"}]}";
    let client = gateway.client().header("x-ai-eg-model", "org/large").header("authorization", "Bearer mine");
    let reply = client.post("/v1/chat/completions?x=1", body).await.unwrap();
    let seen = reply.json();
    assert_eq!((seen["name"].as_str(), seen["body"].as_str()), (Some("one"), Some(body)));
    assert_eq!(seen["path"], "/v1/chat/completions?x=1");
    assert_eq!(header(&seen, "authorization"), Some("Bearer mine"));
    no_internal_headers(&seen);

    // The provider's own path, key and model; nothing else of the body changes.
    gateway.ready("org/large").await;
    let client = gateway.client().header("authorization", "Bearer mine").header("x-api-key", "mine");
    let reply = client.post("/v1/embeddings", "{\"input\":\"x\",\"model\":\"org\\/large\"}").await.unwrap();
    let seen = reply.json();
    assert_eq!(seen["name"], "two");
    assert_eq!(seen["path"], "/openai/v1/embeddings");
    assert_eq!(seen["body"], "{\"input\":\"x\",\"model\":\"large-2\"}");
    assert_eq!(header(&seen, "authorization"), Some("Bearer sk-two"));
    assert_eq!(header(&seen, "x-api-key"), None);
    assert_eq!(header(&seen, "content-length"), Some("31"));
    no_internal_headers(&seen);

    // The model of a form.
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nmodel\r\n--b\r\n\
                Content-Disposition: form-data; name=\"model\"\r\n\r\norg/large\r\n--b--\r\n";
    let client = HttpClient::new(port).header("content-type", "multipart/form-data; boundary=b");
    let seen = client.post("/v1/audio/transcriptions", form).await.unwrap().json();
    assert_eq!((seen["name"].as_str(), seen["path"].as_str()), (Some("two"), Some("/openai/v1/audio/transcriptions")));
    assert!(seen["body"].as_str().unwrap().contains("\r\n\r\nlarge-2\r\n--b--"));

    // Bodies that two readers could read differently.
    for bad in [
        "{\"model\":\"small\",\"model\":\"org/large\"}",
        "{\"mod\\u0065l\":\"org/large\",\"model\":\"small\"}",
        "{\"model\":\"small\"",
        "{\"model\":5}",
        "[]",
        "",
    ] {
        let reply = gateway.chat(bad).await.unwrap();
        assert_eq!(reply.status, 400, "{bad}");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error", "{bad}");
    }
    let reply = gateway.chat("{\"model\":\"unknown\"}").await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.json()["error"]["message"].as_str().unwrap().starts_with("No matching route found."));
    let reply = gateway.client().post("/v1/nothing", "{}").await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), reply.json()["error"]["message"].as_str().unwrap()),
        (404, "unsupported path: /v1/nothing")
    );
    let reply = gateway.client().post("/anthropic/v1/messages", "{\"model\":\"small\"}").await.unwrap();
    assert_eq!(reply.status, 422);

    let list = HttpClient::new(port).get("/v1/models").await.unwrap();
    assert_eq!(list.status, 200);
    let ids: Vec<_> = list.json()["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!("org/large"), json!("small")]);
    assert_eq!(list.json()["data"][0]["owned_by"], "Envoy AI Gateway");

    // A rotated key is in force without a new cluster.
    let warmed = gateway.envoy.stat("cluster_manager.cluster_modified").await;
    gateway.control.write("all.yaml", &manifests.replace("sk-two", "sk-three")).unwrap();
    eventually("the new key", Duration::from_secs(10), || async {
        let seen = gateway.chat("{\"model\":\"org/large\"}").await.unwrap().json();
        (header(&seen, "authorization") == Some("Bearer sk-three")).then_some(())
    })
    .await;
    assert_eq!(gateway.envoy.stat("cluster_manager.cluster_modified").await, warmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_without_an_exact_model_keep_their_place() {
    let (one, two, three) =
        (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap(), Echo::start("three").await.unwrap());
    let port = free_port();
    let rules = "  - matches: [{headers: [{name: x-ai-eg-model, value: exact}]}]
    backendRefs: [{name: one}]
  - matches: [{headers: [{name: x-ai-eg-model, value: exact}, {name: x-team, value: blue}]}]
    backendRefs: [{name: two}]
  - matches: [{headers: [{type: RegularExpression, name: x-ai-eg-model, value: 'gpt-.*'}]}]
    backendRefs: [{name: two}]
  - backendRefs: [{name: three, headerMutation: {set: [{name: x-set, value: '50% & more'}], remove: [x-gone]}, bodyMutation: {set: [{path: user, value: '\"u\"'}], remove: [seed]}}]
";
    let manifests = gateway(port)
        + &backend("one", one.port, "{name: OpenAI}", "")
        + &backend("two", two.port, "{name: OpenAI}", "")
        + &backend("three", three.port, "{name: OpenAI}", "")
        + &route(rules);
    let gateway = start(port, &manifests).await;
    gateway.ready("exact").await;
    for (model, team, expected) in
        [("exact", "red", "one"), ("exact", "blue", "two"), ("gpt-5", "red", "two"), ("other", "red", "three")]
    {
        let client = gateway.client().header("x-team", team).header("x-gone", "1");
        let body = json!({"model": model, "seed": 7, "n": 1}).to_string();
        let seen = client.post("/v1/chat/completions", body).await.unwrap().json();
        assert_eq!(seen["name"], expected, "{model} {team}: {seen}");
        if expected == "three" {
            assert_eq!(header(&seen, "x-set"), Some("50% & more"));
            assert_eq!(header(&seen, "x-gone"), None);
            let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
            assert_eq!(body, json!({"model": "other", "n": 1, "user": "u"}));
        }
    }
    // Nobody keeps a field by writing it so that it is not found.
    let served = three.served();
    for body in ["{\"model\":\"other\",\"se\\u0065d\":7}", "{\"model\":\"other\",\"user\":1,\"user\":2}"] {
        let reply = gateway.chat(body).await.unwrap();
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert_eq!(reply.json()["error"]["code"], "invalid_body", "{}", reply.text());
    }
    assert_eq!(three.served(), served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_takes_over_with_its_own_path_model_and_key() {
    let (one, two) = (Echo::start("one").await.unwrap(), Echo::start("two").await.unwrap());
    let gone = Refusing::new().unwrap();
    let port = free_port();
    let schema_two = "{name: AzureOpenAI, version: v9}";
    let rules = rule("down", "[{name: gone, priority: 0}, {name: two, priority: 1, modelNameOverride: gpt-b}]")
        + &rule("busy", "[{name: one, modelNameOverride: gpt-a}, {name: two, priority: 1, modelNameOverride: gpt-b}]")
        + &rule("open", "[{name: gone}, {name: bare, priority: 1}]");
    let manifests = gateway(port)
        + &backend("gone", gone.port, "{name: OpenAI, prefix: gone/v1}", "")
        + &backend(
            "one",
            one.port,
            "{name: OpenAI, prefix: aaa}",
            "  headerMutation: {set: [{name: x-echo-status, value: '503'}]}",
        )
        + &backend("two", two.port, schema_two, "  headerMutation: {remove: [x-echo-status]}")
        + &backend("bare", two.port, "{name: OpenAI}", "")
        + &key("gone", "APIKey", "apiKey", "sk-gone")
        + &key("one", "APIKey", "apiKey", "sk-one")
        + &key("two", "AzureAPIKey", "azureAPIKey", "az-two")
        + &route(&rules);
    let gateway = start(port, &manifests).await;
    gateway.ready("busy").await;
    for model in ["down", "busy"] {
        for _ in 0..5 {
            let client = gateway.client().header("authorization", "Bearer mine").header("x-api-key", "mine");
            let body = format!("{{\"model\":\"{model}\",\"stream\":false}}");
            let reply = client.post("/v1/chat/completions", body).await.unwrap();
            let seen = reply.json();
            assert_eq!((reply.status.as_u16(), seen["name"].as_str()), (200, Some("two")), "{model}: {seen}");
            assert_eq!(seen["path"], "/openai/deployments/gpt-b/chat/completions?api-version=v9", "{model}: {seen}");
            assert_eq!(seen["body"], "{\"model\":\"gpt-b\",\"stream\":false}");
            assert_eq!(header(&seen, "api-key"), Some("az-two"));
            assert_eq!(header(&seen, "authorization"), None);
            assert_eq!(header(&seen, "x-api-key"), None);
            assert_eq!(seen["host"], "two.default");
            no_internal_headers(&seen);
        }
    }
    // A backend without a key gets none: neither the one of the backend before it nor the client's.
    let client = gateway.client().header("authorization", "Bearer mine");
    let seen = client.post("/v1/chat/completions", "{\"model\":\"open\"}").await.unwrap().json();
    assert_eq!(seen["path"], "/v1/chat/completions");
    assert_eq!(header(&seen, "authorization"), None);
    no_internal_headers(&seen);
    assert!(one.served() >= 5, "the first backend is tried first");
}
