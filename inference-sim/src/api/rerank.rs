//! `POST /v1/rerank`: a document is as relevant as the share of the query's words that it holds.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, parse};
use crate::error::ApiError;
use crate::plan::words_in;
use crate::reply::Answer;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    query: String,
    documents: Vec<Value>,
    top_n: Option<usize>,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let wanted: BTreeSet<&str> = request.query.split_whitespace().collect();
    let asked = request.query.split_whitespace().count();
    let tokens: usize = request.documents.iter().map(|document| asked + words_in(document)).sum();
    exchange.meter.count(tokens, 0);
    let mut ranked: Vec<(usize, String, f64)> = request
        .documents
        .iter()
        .map(|document| document.as_str().or_else(|| document["text"].as_str()).unwrap_or_default())
        .enumerate()
        .map(|(index, text)| {
            let words: BTreeSet<&str> = text.split_whitespace().collect();
            let score = wanted.intersection(&words).count() as f64 / wanted.len().max(1) as f64;
            (index, text.to_owned(), score)
        })
        .collect();
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    ranked.truncate(request.top_n.filter(|top| *top > 0).unwrap_or(usize::MAX));
    let results: Vec<Value> = ranked
        .into_iter()
        .map(|(index, text, score)| json!({ "index": index, "document": { "text": text }, "relevance_score": score }))
        .collect();
    Ok(Answer::Json(json!({
        "id": format!("rerank-{}", exchange.request_id),
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        "results": results,
    })))
}
