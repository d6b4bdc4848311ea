//! `GET /v1/models` and `GET /version`.

use serde_json::{Value, json};

use super::now;
use crate::options::Options;
use crate::reply::Answer;

pub(super) fn list(options: &Options) -> Answer {
    let base = options.base_model();
    let own = options.models.iter().map(|name| model(options, name, None));
    let adapters = options.loras.iter().map(|name| model(options, name, Some(base)));
    Answer::Json(json!({ "object": "list", "data": own.chain(adapters).collect::<Vec<Value>>() }))
}

fn model(options: &Options, name: &str, parent: Option<&str>) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": now(),
        "owned_by": "vllm",
        "root": if parent.is_some() { name } else { options.base_model() },
        "parent": parent,
        "max_model_len": options.max_model_len,
        "permission": [{
            "id": format!("modelperm-{name}"),
            "object": "model_permission",
            "created": now(),
            "allow_create_engine": false,
            "allow_sampling": true,
            "allow_logprobs": true,
            "allow_search_indices": false,
            "allow_view": true,
            "allow_fine_tuning": false,
            "organization": "*",
            "group": null,
            "is_blocking": false,
        }],
    })
}

pub(super) fn version(_: &Options) -> Answer {
    Answer::Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}
