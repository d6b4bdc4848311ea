//! Pages that are no inference: health, metrics, and the orders to the simulator itself.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ApiError, Dialect};
use crate::reply::{self, Answer, Body, Manner};
use crate::server::{Sim, refuse};

/// The answer of such a page; none when the path is not one.
pub(crate) fn answer(sim: &Sim, method: &Method, path: &str, body: &Bytes) -> Option<Response<Body>> {
    let done = |result: Result<(), ApiError>| match result {
        Ok(()) => Response::new(reply::empty()),
        Err(error) => refuse(&error, Dialect::OpenAi),
    };
    Some(match (method.as_str(), path) {
        ("GET", "/health" | "/ping") => Response::new(reply::empty()),
        ("GET", "/metrics") => page(Answer::Text(sim.meter.metrics(&sim.options))),
        ("GET", "/load") => page(Answer::Json(serde_json::json!({ "server_load": sim.meter.load().running }))),
        ("GET", "/sim/requests") => {
            page(Answer::Json(Value::Array(sim.log.all().iter().map(crate::Seen::to_value).collect())))
        }
        ("DELETE", "/sim/requests") => {
            sim.log.clear();
            done(Ok(()))
        }
        ("PUT", "/sim/fault") => done(parse(body).map(|fault| sim.faults.set(Some(fault)))),
        ("DELETE", "/sim/fault") => {
            sim.faults.set(None);
            done(Ok(()))
        }
        ("PUT", "/sim/load") => done(parse(body).map(|load| sim.meter.pretend(Some(load)))),
        ("DELETE", "/sim/load") => {
            sim.meter.pretend(None);
            done(Ok(()))
        }
        (_, path) if path.starts_with("/sim") => {
            refuse(&ApiError::new(StatusCode::NOT_FOUND, "There is no such order."), Dialect::OpenAi)
        }
        _ => return None,
    })
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(&error.to_string()))
}

fn page(answer: Answer) -> Response<Body> {
    reply::response(answer, &Manner { pace: std::time::Duration::ZERO, close_after: None }, None)
}
