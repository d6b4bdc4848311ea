//! Refusals, in the words of the API that was asked.

use http::StatusCode;
use serde_json::{Value, json};

/// Whose clients read the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    pub(crate) fn of_path(path: &str) -> Self {
        if path.starts_with("/v1/messages") { Self::Anthropic } else { Self::OpenAi }
    }
}

#[derive(Debug)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub message: String,
    pub param: Option<&'static str>,
}

/// The names of an error: status, vLLM's, Anthropic's. What is not here is an internal error.
const NAMES: [(u16, &str, &str); 9] = [
    (400, "BadRequestError", "invalid_request_error"),
    (401, "AuthenticationError", "authentication_error"),
    (403, "PermissionDeniedError", "permission_error"),
    (404, "NotFoundError", "not_found_error"),
    (405, "MethodNotAllowed", "invalid_request_error"),
    (413, "RequestTooLargeError", "request_too_large"),
    (429, "RateLimitError", "rate_limit_error"),
    (503, "ServiceUnavailableError", "overloaded_error"),
    (529, "OverloadedError", "overloaded_error"),
];

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, message: message.to_owned(), param: None }
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        Self { status: StatusCode::NOT_FOUND, message, param: Some("model") }
    }

    pub(crate) fn body(&self, dialect: Dialect) -> Value {
        let code = self.status.as_u16();
        let (_, vllm, anthropic) = NAMES.into_iter().find(|(status, ..)| *status == code).unwrap_or((
            code,
            "InternalServerError",
            "api_error",
        ));
        match dialect {
            // vLLM's key check answers before its API does, and tersely.
            Dialect::OpenAi if code == 401 => json!({ "error": "Unauthorized" }),
            Dialect::OpenAi => {
                json!({ "error": { "message": self.message, "type": vllm, "param": self.param, "code": code } })
            }
            Dialect::Anthropic => {
                json!({ "type": "error", "error": { "type": anthropic, "message": self.message } })
            }
        }
    }
}
