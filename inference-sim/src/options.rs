//! What a simulated server is like.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    /// The server's own name: it is in every answer.
    pub name: String,
    /// The names the model is served under; the first is its own.
    pub models: Vec<String>,
    /// Adapters over the first model, by name.
    pub loras: Vec<String>,
    /// The bearer token that `/v1` asks for, if any.
    pub api_key: Option<String>,
    /// Words in an answer, reasoning included, unless the request allows fewer.
    pub completion_tokens: usize,
    /// How many of them are reasoning.
    pub reasoning_tokens: usize,
    /// How many words of a prompt count as cached.
    pub cached_tokens: usize,
    /// From the request to the first word.
    pub first_token: Duration,
    /// From one word to the next.
    pub pace: Duration,
    /// Requests that run at once; further ones wait.
    pub max_running: usize,
    /// Words that a prompt and its answer may have together.
    pub max_model_len: usize,
    /// Whether answers carry the load header even when nobody asks for it.
    pub always_report_load: bool,
    /// Numbers in an embedding.
    pub embedding_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "sim".to_owned(),
            models: vec!["sim-model".to_owned()],
            loras: Vec::new(),
            api_key: None,
            completion_tokens: 16,
            reasoning_tokens: 0,
            cached_tokens: 0,
            first_token: Duration::ZERO,
            pace: Duration::ZERO,
            max_running: 64,
            max_model_len: 32_768,
            always_report_load: false,
            embedding_size: 8,
        }
    }
}

impl Options {
    /// A server of one model, under the server's name and the model's.
    #[must_use]
    pub fn new(name: &str, model: &str) -> Self {
        Self { name: name.to_owned(), models: vec![model.to_owned()], ..Self::default() }
    }

    /// The model itself, which adapters sit on.
    pub(crate) fn base_model(&self) -> &str {
        self.models.first().map_or("", String::as_str)
    }

    pub(crate) fn serves(&self, model: &str) -> bool {
        self.models.iter().chain(&self.loras).any(|served| served == model)
    }
}
