//! `POST /v1/audio/transcriptions` and `translations`: an upload; a kibibyte of audio counts as a second.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, parse};
use crate::error::ApiError;
use crate::reply::Answer;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    file: File,
    #[serde(default)]
    response_format: Option<String>,
}

#[derive(Deserialize)]
struct File {
    bytes: usize,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let plan = exchange.plan(&model, 0, None)?;
    if request.response_format.as_deref() == Some("text") {
        return Ok(Answer::Text(plan.text()));
    }
    let seconds = request.file.bytes.div_ceil(1024);
    Ok(Answer::Json(json!({ "text": plan.text(), "usage": { "type": "duration", "seconds": seconds } })))
}
