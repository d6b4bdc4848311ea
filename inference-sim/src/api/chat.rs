//! `POST /v1/chat/completions`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, StreamOptions, now, parse};
use crate::error::ApiError;
use crate::plan::{Plan, words_in};
use crate::reply::{Answer, Event};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    messages: Vec<Value>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let prompt_tokens = request.messages.iter().map(words_in).sum();
    let plan = exchange.plan(&model, prompt_tokens, request.max_completion_tokens.or(request.max_tokens))?;
    let head = Head { id: format!("chatcmpl-{}", exchange.request_id), created: now(), model };
    if request.stream {
        return Ok(Answer::Events(events(&head, &plan, request.stream_options.unwrap_or_default())));
    }
    let mut message = json!({
        "role": "assistant",
        "content": plan.text(),
        "refusal": null,
        "annotations": null,
        "audio": null,
        "function_call": null,
        "tool_calls": [],
        "reasoning_content": null,
    });
    if !plan.reasoning.is_empty() {
        message["reasoning_content"] = Value::from(plan.reasoning.join(" "));
    }
    Ok(Answer::Json(json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(&plan),
            "stop_reason": null,
        }],
        "service_tier": null,
        "system_fingerprint": null,
        "usage": plan.usage(),
        "prompt_logprobs": null,
        "kv_transfer_params": null,
    })))
}

/// What every event of one answer repeats.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn chunk(&self, choices: &Value, usage: Option<Value>) -> Event {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        Event::data(&chunk)
    }
}

fn events(head: &Head, plan: &Plan, options: StreamOptions) -> Vec<Event> {
    let usage_after = |words| options.in_every_event().then(|| plan.usage_after(words));
    let choice = |delta: Value| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null }]);
    let mut events = vec![head.chunk(&choice(json!({ "role": "assistant", "content": "" })), usage_after(0))];
    let reasoning = plan.reasoning_pieces().map(|piece| json!({ "reasoning_content": piece }));
    let content = plan.pieces().map(|piece| json!({ "content": piece }));
    for (index, delta) in reasoning.chain(content).enumerate() {
        events.push(head.chunk(&choice(delta), usage_after(index + 1)));
    }
    let last = json!([{
        "index": 0,
        "delta": { "content": "" },
        "logprobs": null,
        "finish_reason": finish_reason(plan),
        "stop_reason": null,
    }]);
    events.push(head.chunk(&last, usage_after(plan.completion_tokens())));
    if options.include_usage {
        events.push(head.chunk(&json!([]), Some(plan.usage())));
    }
    events.push(Event::done());
    events
}

pub(super) fn finish_reason(plan: &Plan) -> &'static str {
    if plan.cut { "length" } else { "stop" }
}
