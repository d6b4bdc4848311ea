//! Answers as bodies: whole, or event by event at a pace.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::Value;

use crate::load::Running;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What an endpoint says.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(Value),
    Text(String),
    Events(Vec<Event>),
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    name: Option<&'static str>,
    data: String,
}

impl Event {
    pub(crate) fn data(value: &Value) -> Self {
        Self { name: None, data: value.to_string() }
    }

    /// An event that carries its own type, as OpenAI's Responses and Anthropic's Messages have them.
    pub(crate) fn typed(name: &'static str, mut value: Value) -> Self {
        value["type"] = Value::from(name);
        Self { name: Some(name), data: value.to_string() }
    }

    /// The end of a stream of OpenAI's.
    pub(crate) fn done() -> Self {
        Self { name: None, data: "[DONE]".to_owned() }
    }

    fn bytes(&self) -> Bytes {
        let name = self.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
        Bytes::from(format!("{name}data: {}\n\n", self.data))
    }
}

/// How an answer is sent.
#[derive(Debug)]
pub(crate) struct Manner {
    pub pace: Duration,
    pub close_after: Option<usize>,
}

/// The answer as a response. The request runs until the last byte is sent, or until its client leaves.
pub(crate) fn response(answer: Answer, manner: &Manner, running: Option<Running>) -> Response<Body> {
    let (content_type, pieces) = match answer {
        Answer::Json(value) => ("application/json", whole(value.to_string().into(), manner)),
        Answer::Text(text) => ("text/plain; charset=utf-8", whole(text.into(), manner)),
        Answer::Events(events) => ("text/event-stream; charset=utf-8", events.iter().map(Event::bytes).collect()),
    };
    let is_stream = content_type.starts_with("text/event-stream");
    let body = match (is_stream, manner.close_after) {
        (false, None) => whole_body(pieces, running),
        (false, Some(_)) => StreamBody::new(paced(pieces, Duration::ZERO, Some(1), running)).boxed_unsync(),
        (true, close_after) => StreamBody::new(paced(pieces, manner.pace, close_after, running)).boxed_unsync(),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    response
}

/// An empty body.
pub(crate) fn empty() -> Body {
    Full::default().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A whole body, cut in two where half of it is to be lost.
fn whole(mut bytes: Bytes, manner: &Manner) -> Vec<Bytes> {
    if manner.close_after.is_none() {
        return vec![bytes];
    }
    let first = bytes.split_to(bytes.len() / 2);
    vec![first, bytes]
}

fn whole_body(pieces: Vec<Bytes>, mut running: Option<Running>) -> Body {
    if let Some(running) = &mut running {
        running.complete();
    }
    let bytes = pieces.into_iter().next().unwrap_or_default();
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Pieces at a pace, broken off after some of them if so ordered.
fn paced(
    pieces: Vec<Bytes>,
    pace: Duration,
    close_after: Option<usize>,
    running: Option<Running>,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let last = pieces.len().saturating_sub(1);
    stream::iter(pieces.into_iter().enumerate())
        .scan(running, move |running, (index, piece)| {
            let broken = close_after.is_some_and(|events| index >= events);
            if let (true, Some(running)) = (index == last && !broken, running.as_mut()) {
                running.complete();
            }
            futures::future::ready(Some((index, broken, piece)))
        })
        .then(move |(index, broken, piece)| async move {
            match (index, pace.is_zero()) {
                (0, _) => {}
                // What came before goes out first: an event of its own, and not lost to a break.
                (_, true) => tokio::task::yield_now().await,
                (_, false) => tokio::time::sleep(pace).await,
            }
            if broken { Err(io::Error::other("broken off as ordered")) } else { Ok(Frame::data(piece)) }
        })
}
