//! `POST /v1/responses`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, now, parse};
use crate::error::ApiError;
use crate::plan::{Plan, words_in};
use crate::reply::{Answer, Event};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    input: Value,
    #[serde(default)]
    instructions: Value,
    max_output_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let prompt_tokens = words_in(&request.instructions) + words_in(&request.input);
    let plan = exchange.plan(&model, prompt_tokens, request.max_output_tokens)?;
    let head = Head { id: exchange.request_id.to_owned(), created: now(), model };
    Ok(if request.stream { Answer::Events(events(&head, &plan)) } else { Answer::Json(head.response(&plan, true)) })
}

struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn item_id(&self) -> String {
        format!("msg_{}", self.id)
    }

    /// The response as a whole, before its text is there or after.
    fn response(&self, plan: &Plan, complete: bool) -> Value {
        let status = match (complete, plan.cut) {
            (false, _) => "in_progress",
            (true, true) => "incomplete",
            (true, false) => "completed",
        };
        let mut response = json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "output": [],
            "usage": null,
        });
        if complete && plan.cut {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        if complete {
            response["output"] = json!([self.message(plan)]);
            response["usage"] = usage(plan);
        }
        response
    }

    fn message(&self, plan: &Plan) -> Value {
        json!({
            "id": self.item_id(),
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [text_part(&plan.text())],
        })
    }
}

fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": null })
}

fn usage(plan: &Plan) -> Value {
    json!({
        "input_tokens": plan.prompt_tokens,
        "input_tokens_details": { "cached_tokens": plan.cached_tokens },
        "output_tokens": plan.completion_tokens(),
        "output_tokens_details": { "reasoning_tokens": plan.reasoning.len() },
        "total_tokens": plan.prompt_tokens + plan.completion_tokens(),
    })
}

fn events(head: &Head, plan: &Plan) -> Vec<Event> {
    let at = |rest: Value| {
        let mut value = json!({ "item_id": head.item_id(), "output_index": 0, "content_index": 0 });
        if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
            value.extend(rest);
        }
        value
    };
    let opened = json!({
        "id": head.item_id(), "type": "message", "role": "assistant", "status": "in_progress", "content": [],
    });
    let mut events: Vec<(&'static str, Value)> = vec![
        ("response.created", json!({ "response": head.response(plan, false) })),
        ("response.in_progress", json!({ "response": head.response(plan, false) })),
        ("response.output_item.added", json!({ "output_index": 0, "item": opened })),
        ("response.content_part.added", at(json!({ "part": text_part("") }))),
    ];
    events.extend(plan.pieces().map(|piece| ("response.output_text.delta", at(json!({ "delta": piece })))));
    let end = if plan.cut { "response.incomplete" } else { "response.completed" };
    events.extend([
        ("response.output_text.done", at(json!({ "text": plan.text() }))),
        ("response.content_part.done", at(json!({ "part": text_part(&plan.text()) }))),
        ("response.output_item.done", json!({ "output_index": 0, "item": head.message(plan) })),
        (end, json!({ "response": head.response(plan, true) })),
    ]);
    let numbered = events.into_iter().enumerate().map(|(number, (name, mut value))| {
        value["sequence_number"] = Value::from(number);
        Event::typed(name, value)
    });
    numbered.collect()
}
