//! `POST /v1/messages`: Anthropic's API.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, parse};
use crate::error::ApiError;
use crate::plan::{Plan, words_in};
use crate::reply::{Answer, Event};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    #[serde(default)]
    system: Value,
    messages: Vec<Value>,
    max_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
}

impl Request {
    fn prompt_tokens(&self) -> usize {
        words_in(&self.system) + self.messages.iter().map(words_in).sum::<usize>()
    }
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let prompt_tokens = request.prompt_tokens();
    let model = exchange.model(request.model)?;
    let plan = exchange.plan(&model, prompt_tokens, request.max_tokens)?;
    let id = format!("msg_{}", exchange.request_id);
    if request.stream {
        return Ok(Answer::Events(events(&id, &model, &plan)));
    }
    let mut message = opening(&id, &model, &plan);
    message["content"] = json!([{ "type": "text", "text": plan.text() }]);
    message["stop_reason"] = Value::from(stop_reason(&plan));
    message["usage"]["output_tokens"] = Value::from(plan.completion_tokens());
    Ok(Answer::Json(message))
}

/// `POST /v1/messages/count_tokens`.
pub(super) fn count(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let input_tokens = request.prompt_tokens();
    exchange.model(request.model)?;
    Ok(Answer::Json(json!({ "input_tokens": input_tokens })))
}

/// A message before its text; here cached words do not count as input.
fn opening(id: &str, model: &str, plan: &Plan) -> Value {
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": plan.prompt_tokens - plan.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": plan.cached_tokens,
            "output_tokens": 0,
        },
    })
}

fn events(id: &str, model: &str, plan: &Plan) -> Vec<Event> {
    let mut events = vec![
        Event::typed("message_start", json!({ "message": opening(id, model, plan) })),
        Event::typed("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
        Event::typed("ping", json!({})),
    ];
    events.extend(plan.pieces().map(|piece| {
        Event::typed("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": piece } }))
    }));
    let delta = json!({ "stop_reason": stop_reason(plan), "stop_sequence": null });
    let usage = json!({ "output_tokens": plan.completion_tokens() });
    events.extend([
        Event::typed("content_block_stop", json!({ "index": 0 })),
        Event::typed("message_delta", json!({ "delta": delta, "usage": usage })),
        Event::typed("message_stop", json!({})),
    ]);
    events
}

fn stop_reason(plan: &Plan) -> &'static str {
    if plan.cut { "max_tokens" } else { "end_turn" }
}
