//! The admin port: health, who is connected, what they have, what is wrong.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use ratelimit::RateLimiter;
use serde::Deserialize;
use serde_json::{Value, json};
use translator::Status;
use xds_api::ResourceType;
use xds_server::{Fleet, GroupKey, Snapshots};

use super::programmed::Rejected;
use super::{View, limits_page};

#[derive(Clone)]
pub(crate) struct State {
    pub snapshots: Snapshots,
    pub fleet: Fleet,
    pub view: Arc<ArcSwap<View>>,
    pub registry: Arc<Registry>,
    /// The embedded rate limit service; none where another one is asked.
    pub limiter: Option<Arc<RateLimiter>>,
}

pub(crate) fn pages(state: State) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/fleet", get(fleet))
        .route("/snapshot", get(snapshot))
        .route("/status", get(statuses))
        .route("/diagnostics", get(diagnostics))
        .route("/limits", get(limits_page::show))
        .route("/limits/reset", post(limits_page::reset))
        .with_state(state)
}

async fn ready(Extract(state): Extract<State>) -> (StatusCode, &'static str) {
    if state.snapshots.is_ready() {
        (StatusCode::OK, "ready\n")
    } else if state.snapshots.has_fallen_back() {
        (StatusCode::OK, "ready: what was saved is served, for the source is not read yet\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the first full load has not ended\n")
    }
}

async fn metrics(Extract(state): Extract<State>) -> ([(HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &state.registry).is_err() {
        tracing::warn!("metrics cannot be written");
    }
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

async fn fleet(Extract(state): Extract<State>) -> Json<Value> {
    let State { fleet, snapshots, .. } = &state;
    Json(json!({ "clients": fleet.clients(), "rejections": snapshots.rejections(), "held": snapshots.held_back() }))
}

#[derive(Deserialize)]
struct Which {
    gateway: Option<String>,
}

/// Every resource of a gateway but its secrets: of those only the names.
async fn snapshot(Extract(state): Extract<State>, Query(which): Query<Which>) -> Json<Value> {
    let keys = match which.gateway {
        Some(gateway) => vec![GroupKey::new(&gateway)],
        None => state.snapshots.keys(),
    };
    let mut groups = serde_json::Map::new();
    for key in keys {
        let mut resources: Vec<Value> = Vec::new();
        for resource in state.snapshots.resources(&key) {
            let content = if resource.kind == ResourceType::Secret {
                json!({ "name": *resource.name })
            } else {
                xds_api::to_value(resource.kind, &resource.body).unwrap_or_default()
            };
            resources.push(json!({ "type": resource.kind.type_url(), "name": *resource.name, "content": content }));
        }
        groups.insert(key.to_string(), Value::Array(resources));
    }
    Json(Value::Object(groups))
}

async fn statuses(Extract(state): Extract<State>) -> Json<Value> {
    let view = state.view.load();
    let rejected = Rejected::now(&state.fleet, &state.snapshots);
    let of = view.statuses.iter().map(|(id, status)| {
        let mut status = Status::clone(status);
        rejected.overlay(id, &mut status);
        (id.to_string(), status.to_value(id))
    });
    Json(Value::Object(of.collect()))
}

async fn diagnostics(Extract(state): Extract<State>) -> String {
    kinds::report::to_text(&state.view.load().diagnostics, false)
}
