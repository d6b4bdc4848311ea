//! `POST /v1/completions`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::chat::finish_reason;
use super::{Exchange, StreamOptions, now, parse};
use crate::error::ApiError;
use crate::plan::words_in;
use crate::reply::{Answer, Event};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    prompt: Value,
    max_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let plan = exchange.plan(&model, words_in(&request.prompt), request.max_tokens)?;
    let (id, created) = (format!("cmpl-{}", exchange.request_id), now());
    let whole = |choices: Value, usage: Option<Value>| {
        let mut value =
            json!({ "id": id, "object": "text_completion", "created": created, "model": model, "choices": choices });
        if let Some(usage) = usage {
            value["usage"] = usage;
        }
        value
    };
    let choice = |text: &str, finish: Option<&str>| json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish, "stop_reason": null }]);
    if !request.stream {
        return Ok(Answer::Json(whole(choice(&plan.text(), Some(finish_reason(&plan))), Some(plan.usage()))));
    }
    let options = request.stream_options.unwrap_or_default();
    let pieces: Vec<String> = plan.reasoning_pieces().chain(plan.pieces()).collect();
    let mut events = Vec::with_capacity(pieces.len() + 2);
    for (index, piece) in pieces.iter().enumerate() {
        let finish = (index + 1 == pieces.len()).then(|| finish_reason(&plan));
        let usage = options.in_every_event().then(|| plan.usage_after(index + 1));
        events.push(Event::data(&whole(choice(piece, finish), usage)));
    }
    if options.include_usage {
        events.push(Event::data(&whole(json!([]), Some(plan.usage()))));
    }
    events.push(Event::done());
    Ok(Answer::Events(events))
}
