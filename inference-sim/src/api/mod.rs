//! The endpoints, one file each, and the table of them.

mod chat;
mod completions;
mod embeddings;
mod messages;
mod models;
mod rerank;
mod responses;
mod tokenize;
mod transcription;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::load::Meter;
use crate::options::Options;
use crate::plan::Plan;
use crate::reply::Answer;

/// What a request may read while it is answered.
pub(crate) struct Exchange<'a> {
    pub options: &'a Options,
    pub meter: &'a Meter,
    pub request_id: &'a str,
}

#[derive(Clone, Copy)]
pub(crate) enum Endpoint {
    Get(fn(&Options) -> Answer),
    Post(fn(&Exchange<'_>, Value) -> Result<Answer, ApiError>),
}

const ENDPOINTS: [(&str, Endpoint); 14] = [
    ("/v1/models", Endpoint::Get(models::list)),
    ("/version", Endpoint::Get(models::version)),
    ("/v1/chat/completions", Endpoint::Post(chat::answer)),
    ("/v1/completions", Endpoint::Post(completions::answer)),
    ("/v1/embeddings", Endpoint::Post(embeddings::answer)),
    ("/v1/responses", Endpoint::Post(responses::answer)),
    ("/v1/messages", Endpoint::Post(messages::answer)),
    ("/v1/messages/count_tokens", Endpoint::Post(messages::count)),
    ("/tokenize", Endpoint::Post(tokenize::answer)),
    ("/rerank", Endpoint::Post(rerank::answer)),
    ("/v1/rerank", Endpoint::Post(rerank::answer)),
    ("/v2/rerank", Endpoint::Post(rerank::answer)),
    ("/v1/audio/transcriptions", Endpoint::Post(transcription::answer)),
    ("/v1/audio/translations", Endpoint::Post(transcription::answer)),
];

pub(crate) fn find(method: &Method, path: &str) -> Result<Endpoint, ApiError> {
    let Some((_, endpoint)) = ENDPOINTS.into_iter().find(|(served, _)| *served == path) else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "Not Found"));
    };
    let wanted = match endpoint {
        Endpoint::Get(_) => Method::GET,
        Endpoint::Post(_) => Method::POST,
    };
    if *method == wanted {
        Ok(endpoint)
    } else {
        Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
    }
}

/// An id for a request that brings none.
pub(crate) fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn parse<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|error| ApiError::bad_request(&error.to_string()))
}

/// What a client wants to know about a stream's usage.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    /// vLLM's own: usage so far in every event.
    #[serde(default)]
    continuous_usage_stats: bool,
}

impl StreamOptions {
    fn in_every_event(self) -> bool {
        self.include_usage && self.continuous_usage_stats
    }
}

impl Exchange<'_> {
    /// The model to answer as: the one asked for, if it is served; the server's own when none is named.
    fn model(&self, asked: Option<String>) -> Result<String, ApiError> {
        match asked {
            None => Ok(self.options.base_model().to_owned()),
            Some(model) if self.options.serves(&model) => Ok(model),
            Some(model) => Err(ApiError::unknown_model(&model)),
        }
    }

    /// Plans an answer and counts its tokens.
    fn plan(&self, model: &str, prompt_tokens: usize, max_tokens: Option<usize>) -> Result<Plan, ApiError> {
        let most = self.options.max_model_len;
        if prompt_tokens > most {
            return Err(ApiError::bad_request(&format!(
                "This model's maximum context length is {most} tokens. However, your request has {prompt_tokens} input tokens."
            )));
        }
        let plan = Plan::new(self.options, model, prompt_tokens, max_tokens);
        self.meter.count(prompt_tokens, plan.completion_tokens());
        Ok(plan)
    }
}
