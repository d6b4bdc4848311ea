//! What arrived.

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Older requests than these are forgotten.
const KEPT: usize = 10_000;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub(crate) fn new(parts: &Parts, body: &Bytes) -> Self {
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: parts.headers.clone(),
            body: body.clone(),
        }
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn to_value(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let body = String::from_utf8_lossy(&self.body);
        json!({ "method": self.method, "path": self.path, "headers": headers, "body": body })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<std::collections::VecDeque<Seen>>);

impl Log {
    pub(crate) fn add(&self, seen: Seen) {
        let mut log = self.0.lock();
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(seen);
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}
