//! `POST /v1/embeddings`: a vector that depends on nothing but the text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exchange, now, parse};
use crate::error::ApiError;
use crate::plan::words_in;
use crate::reply::Answer;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    input: Value,
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Encoding,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

pub(super) fn answer(exchange: &Exchange<'_>, body: Value) -> Result<Answer, ApiError> {
    let request: Request = parse(body)?;
    let model = exchange.model(request.model)?;
    let prompt_tokens = words_in(&request.input);
    let size = request.dimensions.unwrap_or(exchange.options.embedding_size).min(4096);
    let inputs = match request.input {
        Value::Array(inputs) if inputs.iter().all(|input| input.is_string() || input.is_array()) => inputs,
        one => vec![one],
    };
    exchange.meter.count(prompt_tokens, 0);
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.to_string(), size);
            json!({ "index": index, "object": "embedding", "embedding": encode(&vector, request.encoding_format) })
        })
        .collect();
    Ok(Answer::Json(json!({
        "id": format!("embd-{}", exchange.request_id),
        "object": "list",
        "created": now(),
        "model": model,
        "data": data,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": null,
        },
    })))
}

/// Numbers from -1 to 1 out of a text: an FNV-1a hash, carried on from one number to the next.
fn vector(text: &str, size: usize) -> Vec<f32> {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mut next = || {
        hash = step(hash, 1);
        // The upper bits: the lower ones of such a hash are poor.
        ((hash >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
    };
    (0..size).map(|_| next()).collect()
}

fn encode(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Value::from(STANDARD.encode(bytes))
        }
    }
}
