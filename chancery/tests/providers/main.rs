//! Providers through a stock Envoy: whom it asks and by which name, whom it believes, and what it shows of itself.

#![allow(clippy::unwrap_used)]

mod own_keys;
mod signing;
mod table;

/// A header of a request, as an echoing server saw it.
fn header<'a>(seen: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    seen["headers"][name][0].as_str()
}
