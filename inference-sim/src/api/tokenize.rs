//! `POST /tokenize`: a token is a word, and its number is its length.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, parse};
use crate::error::ApiError;
use crate::plan::words_in;
use crate::reply::Answer;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    prompt: Option<String>,
    #[serde(default)]
    messages: Vec<Value>,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    exchange.model(request.model)?;
    let tokens: Vec<usize> = match &request.prompt {
        Some(prompt) => prompt.split_whitespace().map(str::len).collect(),
        None => vec![1; request.messages.iter().map(words_in).sum()],
    };
    Ok(Answer::Json(json!({
        "count": tokens.len(),
        "max_model_len": exchange.options.max_model_len,
        "tokens": tokens,
        "token_strs": null,
    })))
}
