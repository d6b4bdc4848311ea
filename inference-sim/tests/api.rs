//! The shapes clients rely on, and numbers that can be known in advance.

#![allow(clippy::unwrap_used)]

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::{HttpClient, SseEvent};

async fn start(options: Options) -> (Simulator, HttpClient) {
    let simulator = Simulator::start(options).await.unwrap();
    let client = HttpClient::new(simulator.port());
    (simulator, client)
}

fn chat(extra: &Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "tell me a story" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The JSON of all events but the closing mark.
fn chunks(events: &[SseEvent]) -> Vec<Value> {
    assert_eq!(events.last().unwrap().data, "[DONE]");
    events[..events.len() - 1].iter().map(SseEvent::json).collect()
}

#[tokio::test]
async fn a_chat_answer_counts_words() {
    let (_simulator, client) = start(Options::new("a", "m")).await;
    let reply = client.post_json("/v1/chat/completions", &chat(&json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-sim-server"), Some("a"));
    let answer = reply.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "m");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("a answers as m:"));
    let usage =
        json!({ "prompt_tokens": 4, "completion_tokens": 16, "total_tokens": 20, "prompt_tokens_details": null });
    assert_eq!(answer["usage"], usage);

    let short = client.post_json("/v1/chat/completions", &chat(&json!({ "max_tokens": 5 }))).await.unwrap().json();
    assert_eq!(short["usage"]["completion_tokens"], 5);
    assert_eq!(short["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_stream_says_the_same_as_a_whole_answer_and_ends_with_usage_if_asked() {
    let (_simulator, client) = start(Options::new("a", "m")).await;
    let whole = client.post_json("/v1/chat/completions", &chat(&json!({}))).await.unwrap().json();
    let request = chat(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let mut stream = client.stream_json("/v1/chat/completions", &request).await.unwrap();
    assert!(stream.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let chunks = chunks(&stream.events().await.unwrap());
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    assert!(others.iter().all(|chunk| chunk.get("usage").is_none()));

    let mut plain = client.stream_json("/v1/chat/completions", &chat(&json!({ "stream": true }))).await.unwrap();
    assert!(plain.events().await.unwrap().iter().all(|event| event.json().get("usage").is_none()));
}

#[tokio::test]
async fn continuous_usage_grows_with_each_event() {
    let (_simulator, client) = start(Options::new("a", "m")).await;
    let options = json!({ "include_usage": true, "continuous_usage_stats": true });
    let request = chat(&json!({ "stream": true, "max_tokens": 3, "stream_options": options }));
    let events = client.stream_json("/v1/chat/completions", &request).await.unwrap().events().await.unwrap();
    let completion: Vec<u64> =
        chunks(&events).iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(completion, [0, 1, 2, 3, 3, 3]);
}

#[tokio::test]
async fn cached_and_reasoning_tokens_are_part_of_the_usage() {
    let options = Options { cached_tokens: 2, reasoning_tokens: 6, ..Options::new("a", "m") };
    let (_simulator, client) = start(options).await;
    let answer = client.post_json("/v1/chat/completions", &chat(&json!({}))).await.unwrap().json();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 6);
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    let own = client.header("x-sim-cached-tokens", "3").header("x-sim-reasoning-tokens", "1");
    let answer = own.post_json("/v1/chat/completions", &chat(&json!({}))).await.unwrap().json();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);
}

#[tokio::test]
async fn unknown_models_and_broken_requests_are_refused_as_vllm_does() {
    let (_simulator, client) = start(Options { loras: vec!["sql".into()], ..Options::new("a", "m") }).await;
    let reply = client.post_json("/v1/chat/completions", &chat(&json!({ "model": "x" }))).await.unwrap();
    assert_eq!(reply.status, 404);
    let error = json!({
        "message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404,
    });
    assert_eq!(reply.json()["error"], error);
    let adapter = client.post_json("/v1/chat/completions", &chat(&json!({ "model": "sql" }))).await.unwrap();
    assert_eq!(adapter.json()["model"], "sql");
    let broken = client.post("/v1/chat/completions", "{").await.unwrap();
    assert_eq!(broken.status, 400);
    assert_eq!(broken.json()["error"]["type"], "BadRequestError");
    assert_eq!(client.get("/v1/chat/completions").await.unwrap().status, 405);
    assert_eq!(client.get("/v1/nothing").await.unwrap().status, 404);

    let models = client.get("/v1/models").await.unwrap().json();
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][1]["parent"], "m");
}

#[tokio::test]
async fn the_key_is_wanted_under_v1_only() {
    let (_simulator, client) = start(Options { api_key: Some("k".into()), ..Options::new("a", "m") }).await;
    assert_eq!(client.get("/v1/models").await.unwrap().status, 401);
    assert_eq!(client.get("/health").await.unwrap().status, 200);
    for (name, value) in [("authorization", "Bearer k"), ("x-api-key", "k")] {
        assert_eq!(client.clone().header(name, value).get("/v1/models").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn anthropic_messages_have_their_own_events_and_errors() {
    let (_simulator, client) = start(Options { cached_tokens: 1, ..Options::new("a", "m") }).await;
    let request = chat(&json!({ "max_tokens": 4, "system": "be brief" }));
    let whole = client.post_json("/v1/messages", &request).await.unwrap().json();
    assert_eq!(whole["type"], "message");
    assert_eq!(whole["stop_reason"], "max_tokens");
    assert_eq!(whole["usage"]["input_tokens"], 5);
    assert_eq!(whole["usage"]["cache_read_input_tokens"], 1);
    assert_eq!(whole["usage"]["output_tokens"], 4);

    let request = chat(&json!({ "max_tokens": 1, "stream": true }));
    let events = client.stream_json("/v1/messages", &request).await.unwrap().events().await.unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_deref().unwrap()).collect();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
    assert_eq!(events[5].json()["usage"]["output_tokens"], 1);

    let unknown = client.post_json("/v1/messages", &chat(&json!({ "model": "x" }))).await.unwrap();
    assert_eq!(unknown.json()["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn responses_end_with_the_whole_response() {
    let (_simulator, client) = start(Options::new("a", "m")).await;
    let request = json!({ "model": "m", "input": "two words" });
    let whole = client.post_json("/v1/responses", &request).await.unwrap().json();
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["usage"]["input_tokens"], 2);
    assert_eq!(whole["usage"]["total_tokens"], 18);
    let request = json!({ "model": "m", "input": "two words", "stream": true });
    let events = client.stream_json("/v1/responses", &request).await.unwrap().events().await.unwrap();
    let last = events.last().unwrap();
    assert_eq!(last.name.as_deref(), Some("response.completed"));
    assert_eq!(last.json()["response"]["usage"], whole["usage"]);
    assert_eq!(last.json()["response"]["output"][0]["content"], whole["output"][0]["content"]);
}

#[tokio::test]
async fn the_smaller_endpoints_answer() {
    let (_simulator, client) = start(Options::new("a", "m")).await;
    let completion = json!({ "model": "m", "prompt": "one two", "max_tokens": 2 });
    let answer = client.post_json("/v1/completions", &completion).await.unwrap().json();
    assert_eq!(answer["choices"][0]["text"], "a answers");
    assert_eq!(answer["usage"]["total_tokens"], 4);

    let embeddings = json!({ "model": "m", "input": ["one two", "three"] });
    let answer = client.post_json("/v1/embeddings", &embeddings).await.unwrap().json();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(answer["usage"]["prompt_tokens"], 3);

    let tokens = client.post_json("/tokenize", &json!({ "prompt": "a bc" })).await.unwrap().json();
    assert_eq!(tokens["tokens"], json!([1, 2]));

    let rerank = json!({ "model": "m", "query": "red cat", "documents": ["a dog", "a red cat"], "top_n": 1 });
    let answer = client.post_json("/v1/rerank", &rerank).await.unwrap().json();
    assert_eq!(answer["results"][0]["index"], 1);

    let form = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n\
                content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
    let upload = client.header("content-type", "multipart/form-data; boundary=b");
    let answer = upload.post("/v1/audio/transcriptions", form).await.unwrap().json();
    assert_eq!(answer["usage"]["seconds"], 1);
}
