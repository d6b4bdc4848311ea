//! What an answer will be: known in full before its first word is sent.

use serde_json::{Value, json};

use crate::options::Options;

/// Words that answers are made of.
const WORDS: [&str; 12] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

#[derive(Debug)]
pub(crate) struct Plan {
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub reasoning: Vec<String>,
    pub words: Vec<String>,
    /// Whether the request allowed fewer words than there were to say.
    pub cut: bool,
}

impl Plan {
    /// The answer to a prompt of so many words.
    pub(crate) fn new(options: &Options, model: &str, prompt_tokens: usize, max_tokens: Option<usize>) -> Self {
        let tokens = max_tokens.map_or(options.completion_tokens, |max| max.min(options.completion_tokens));
        let reasoning_tokens = options.reasoning_tokens.min(tokens);
        let opening = [options.name.clone(), "answers".to_owned(), "as".to_owned(), format!("{model}:")];
        let counting = WORDS.iter().cycle().map(|word| (*word).to_owned());
        Self {
            prompt_tokens,
            cached_tokens: options.cached_tokens.min(prompt_tokens),
            reasoning: counting.clone().take(reasoning_tokens).collect(),
            words: opening.into_iter().chain(counting).take(tokens - reasoning_tokens).collect(),
            cut: tokens < options.completion_tokens,
        }
    }

    pub(crate) fn completion_tokens(&self) -> usize {
        self.reasoning.len() + self.words.len()
    }

    pub(crate) fn text(&self) -> String {
        self.words.join(" ")
    }

    /// The answer in pieces as a stream brings them: together they are the text.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = String> {
        pieces(&self.words)
    }

    pub(crate) fn reasoning_pieces(&self) -> impl Iterator<Item = String> {
        pieces(&self.reasoning)
    }

    /// OpenAI's usage, after so many words of the answer.
    pub(crate) fn usage_after(&self, completion_tokens: usize) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens_details": null,
        });
        if self.cached_tokens > 0 {
            usage["prompt_tokens_details"] = json!({ "cached_tokens": self.cached_tokens });
        }
        if !self.reasoning.is_empty() {
            let reasoning = self.reasoning.len().min(completion_tokens);
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning });
        }
        usage
    }

    pub(crate) fn usage(&self) -> Value {
        self.usage_after(self.completion_tokens())
    }
}

fn pieces(words: &[String]) -> impl Iterator<Item = String> {
    words.iter().enumerate().map(|(index, word)| if index == 0 { word.clone() } else { format!(" {word}") })
}

/// The words in a text, or in all texts of a JSON value: message contents come as a string or as a list of parts.
pub(crate) fn words_in(content: &Value) -> usize {
    match content {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(parts) => parts.iter().map(words_in).sum(),
        Value::Object(part) => ["text", "content"].iter().filter_map(|field| part.get(*field)).map(words_in).sum(),
        _ => 0,
    }
}
