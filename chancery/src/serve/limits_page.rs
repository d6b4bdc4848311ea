//! The admin pages of limits: who has spent what of which rule, and counters put to nothing on request.

use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use ratelimit::{Filter, Order, RateLimiter, Spending};
use serde::Deserialize;
use serde_json::{Value, json};
use translator::LimitRule;

use super::admin::State;

/// Counters that one request may put to nothing.
const MOST_RESET: usize = 100_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    contains: Option<String>,
    order: Option<String>,
    offset: usize,
    count: Option<usize>,
}

type Refusal = (StatusCode, &'static str);

fn limiter(state: &State) -> Result<&RateLimiter, Refusal> {
    let counted_elsewhere = (StatusCode::NOT_FOUND, "limits are counted by another service: ask that one\n");
    state.limiter.as_deref().ok_or(counted_elsewhere)
}

pub(super) async fn show(Extract(state): Extract<State>, Query(asked): Query<Asked>) -> Result<Json<Value>, Refusal> {
    let limiter = limiter(&state)?;
    let order = if asked.order.as_deref() == Some("pressure") { Order::Pressure } else { Order::Path };
    let count = asked.count.unwrap_or(100).min(10_000);
    let filter = Filter { domain: None, contains: asked.contains, order, offset: asked.offset, count };
    let now = ratelimit::now();
    let page = limiter.list(&filter, now);
    let view = state.view.load();
    let counters: Vec<Value> = page.counters.iter().map(|counter| value(counter, &view.limits, now)).collect();
    Ok(Json(json!({ "total": page.total, "counters": counters })))
}

/// A counter with the rule that it belongs to, as its author knows it.
fn value(counter: &Spending, rules: &[LimitRule], now: u64) -> Value {
    let mut value = serde_json::to_value(counter).unwrap_or_default();
    value["resets_in"] = json!(counter.resets_at.saturating_sub(now));
    let id = counter.entries.iter().find(|(key, _)| key == "rule").map(|(_, id)| id.as_str());
    if let Some(rule) = rules.iter().find(|rule| Some(rule.id.as_str()) == id) {
        value["policy"] = json!(rule.policy.to_string());
        value["field"] = json!(rule.path.as_str());
    }
    value
}

#[derive(Debug, Deserialize)]
pub(super) struct Reset {
    /// Counters with this text in an entry, `key=value`.
    contains: String,
}

pub(super) async fn reset(Extract(state): Extract<State>, Json(asked): Json<Reset>) -> Result<Json<Value>, Refusal> {
    let limiter = limiter(&state)?;
    if asked.contains.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "`contains` says which counters\n"));
    }
    let filter = Filter { contains: Some(asked.contains), count: MOST_RESET, ..Filter::default() };
    let page = limiter.list(&filter, ratelimit::now());
    let reset = page.counters.iter().filter(|counter| {
        let entries: Vec<_> = counter.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        counter.unit().is_some_and(|unit| limiter.reset(&counter.domain, unit, &entries))
    });
    let reset = reset.count();
    tracing::info!(reset, "counters of limits start anew");
    Ok(Json(json!({ "reset": reset })))
}
