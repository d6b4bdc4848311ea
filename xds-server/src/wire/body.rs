//! A response body that is the stream itself.
//!
//! It is polled when the client can take more: only then is the state machine asked what to send, so a slow client costs
//! nothing and always gets the newest. There is no task, no channel and no buffer for a stream.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use prost::Message;
use tokio::time::{Instant, Sleep};
use xxhash_rust::xxh3::xxh3_64;

use super::alarm::{Alarm, Joined};
use super::deframe::Deframer;
use super::request::{DeltaRequest, Identity, SotwRequest};
use crate::Error;
use crate::fleet::{Client, Member};
use crate::protocol::{Event, Stream, Variant};
use crate::server::{Peer, Shared};
use crate::snapshot::GroupKey;
use xds_api::ResourceType;

pub(crate) struct Discovery {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    variant: Variant,
    only: Option<ResourceType>,
    incoming: Incoming,
    deframer: Deframer,
    started: Instant,
    /// A tenth more or less than the others, so that not all go at once.
    max_age: Duration,
    running: Option<Running>,
    wake_at: Option<Pin<Box<Sleep>>>,
    /// For changes, the end of the server, and time: a message of the client is none of these.
    alarm: Alarm,
    /// With whom the alarm rings: its group, or strangers until the client has said who it is.
    joined: Joined,
    ended: bool,
}

/// What begins with the first message.
struct Running {
    stream: Stream,
    member: Member,
    /// Something was rejected, and the fleet is to know when that is over.
    rejected: bool,
    /// Counts this stream while it is open.
    open: Gauge,
}

impl Running {
    /// Nothing is to be sent: what waits for no answer is settled, with or without what was rejected.
    fn catch_up(&mut self) {
        let group = self.stream.group();
        let aside = group.rejected();
        let mut refuses_any = false;
        for entry in self.stream.types() {
            let waits = entry.pending.is_some();
            let refuses = entry.refuses(&group.state(entry.kind))
                || aside
                    .iter()
                    .any(|aside| aside.resource.kind == entry.kind && entry.refused.contains_key(&aside.resource.name));
            if !waits {
                self.member.caught_up(entry.kind, refuses);
            }
            refuses_any |= waits || refuses;
        }
        self.rejected = refuses_any;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Discovery {
    pub(crate) fn new(
        shared: Arc<Shared>,
        peer: Arc<Peer>,
        variant: Variant,
        only: Option<ResourceType>,
        incoming: Incoming,
    ) -> Self {
        let seed = xxh3_64(peer.address.to_string().as_bytes()) % 200;
        let max_age = shared.options.max_stream_age.mul_f64(0.9 + seed as f64 / 1000.0);
        let alarm = Alarm::new();
        let joined = shared.strangers.join(&alarm);
        Self {
            shared,
            max_age,
            peer,
            variant,
            only,
            incoming,
            deframer: Deframer::default(),
            started: Instant::now(),
            running: None,
            wake_at: None,
            alarm,
            joined,
            ended: false,
        }
    }

    /// Nothing of the stream outlives its status.
    fn end(&mut self, error: Option<&Error>) {
        self.ended = true;
        self.running = None;
        self.wake_at = None;
        self.shared.metrics.ended(error.map_or(0, Error::grpc_code));
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn limit(&self) -> usize {
        let options = &self.shared.options;
        if self.running.is_some() { options.max_message_bytes } else { options.max_first_message_bytes }
    }

    /// Reads what has arrived. True when the client has nothing more to say.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Ok(true),
                Poll::Ready(Some(Err(_))) => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.deframer.push(data);
                    while let Some(message) = self.deframer.next(self.limit())? {
                        self.take(message)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, message: Bytes) -> Result<(), Error> {
        let malformed = |_| Error::InvalidRequest("the message is not a discovery request".into());
        let event = match self.variant {
            Variant::Sotw => {
                let request = SotwRequest::decode(message).map_err(malformed)?;
                self.start(request.node.as_ref())?;
                self.running.as_mut().map_or(Ok(None), |running| running.stream.sotw(&request))?
            }
            Variant::Delta => {
                let request = DeltaRequest::decode(message).map_err(malformed)?;
                self.start(request.node.as_ref())?;
                self.running.as_mut().map_or(Ok(None), |running| running.stream.delta(&request))?
            }
        };
        if let Some(event) = event {
            self.note(&event);
        }
        Ok(())
    }

    /// The first message says who asks; later nodes are not even decoded.
    fn start(&mut self, node: Option<&Bytes>) -> Result<(), Error> {
        if self.running.is_some() {
            return Ok(());
        }
        let identity =
            node.and_then(Identity::decode).filter(|identity| !identity.cluster.is_empty() || !identity.id.is_empty());
        let identity = identity.ok_or(Error::NoNode)?;
        let key = GroupKey::new(&identity.cluster);
        if !self.shared.options.access.allows(&self.peer.identities, key.as_str()) {
            return Err(Error::Forbidden(format!("this identity may not ask for the Gateway {key}")));
        }
        if !self.shared.snapshots.may_serve(&key) {
            return Err(Error::NotReady);
        }
        let group = self.shared.snapshots.group_of_stream(&key);
        let group = group.ok_or_else(|| Error::TooMuch("this server has all the Gateways it can serve".into()))?;
        self.joined = group.alarms.join(&self.alarm);
        let stream = Stream::new(self.variant, self.only, group, self.shared.options.max_names);
        let open = self.shared.metrics.streams(self.variant.name());
        open.inc();
        let member = self.shared.fleet.joined(Client {
            gateway: key,
            node: identity.id,
            version: identity.version,
            locality: identity.locality,
            address: self.peer.address,
            variant: self.variant.name(),
            connected: SystemTime::now(),
            last_acknowledgement: None,
            types: Default::default(),
        });
        self.running = Some(Running { stream, member, rejected: false, open });
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        let Some(running) = &mut self.running else { return };
        let now = SystemTime::now();
        match event {
            Event::Acknowledged { kind, waited_since } => {
                let entry = running.stream.types().find(|entry| entry.kind == *kind);
                if let Some(state) = entry.and_then(|entry| entry.base.as_ref()) {
                    let sent = self.started.elapsed().saturating_sub(*waited_since);
                    // A state from before the stream began says nothing about how long its client took.
                    let took = now.duration_since(state.published).unwrap_or_default();
                    let took = if took > self.started.elapsed() { sent } else { took };
                    running.member.acknowledged(*kind, &state.version, took, now);
                    self.shared.metrics.acknowledged(*kind, took);
                }
            }
            Event::Rejected { kind, message, suspects } => {
                running.rejected = true;
                running.member.rejected(*kind, message, suspects);
                self.shared.metrics.rejected(*kind);
                let gateway = &running.stream.group().key;
                tracing::warn!(%gateway, ?kind, message, "an Envoy rejected configuration");
            }
        }
        if running.stream.settle(event, now) {
            self.shared.snapshots.rejected();
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let over = self.poll_requests(cx)?;
        if over {
            return Poll::Ready(Ok(None));
        }
        if self.alarm.rang(cx) && self.shared.is_draining() {
            return Poll::Ready(Err(Error::Draining));
        }
        let elapsed = self.elapsed();
        let Some(running) = &mut self.running else {
            let patience = self.shared.options.patience;
            if elapsed >= patience {
                return Poll::Ready(Err(Error::NoNode));
            }
            self.wake(Some(patience), cx);
            return Poll::Pending;
        };
        if elapsed >= self.max_age {
            return Poll::Ready(Err(Error::Draining));
        }
        if let Some((kind, frame)) = running.stream.next(elapsed) {
            let entry = running.stream.types().find(|entry| entry.kind == kind);
            if let Some(pending) = entry.and_then(|entry| entry.pending.as_ref()) {
                running.member.sent(kind, &pending.state.version);
            }
            self.shared.metrics.pushed(kind, frame.len());
            return Poll::Ready(Ok(Some(frame)));
        }
        if running.rejected {
            running.catch_up();
        }
        let deadline = running.stream.deadline(elapsed);
        self.wake(deadline, cx);
        Poll::Pending
    }

    /// Asks to be polled at a time since the stream began, whatever happens before; or at none.
    ///
    /// A time lies ahead when it is asked for. So a timer that has gone off is moved by the next call, and polled then.
    fn wake(&mut self, at: Option<Duration>, cx: &mut Context<'_>) {
        let Some(at) = at.map(|at| self.started + at) else {
            self.wake_at = None;
            return;
        };
        let sleep = match &mut self.wake_at {
            Some(sleep) if sleep.deadline() == at => return,
            Some(sleep) => {
                sleep.as_mut().reset(at);
                sleep
            }
            None => self.wake_at.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        if sleep.as_mut().poll(&mut Context::from_waker(&self.alarm.waker())).is_ready() {
            self.wake_at = None;
            cx.waker().wake_by_ref();
        }
    }

    /// The next frame of the response.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.poll_message(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(frame))) => Poll::Ready(Some(Frame::data(frame))),
            Poll::Ready(Ok(None)) => {
                self.end(None);
                Poll::Ready(Some(Frame::trailers(trailers(None))))
            }
            Poll::Ready(Err(error)) => {
                self.end(Some(&error));
                tracing::debug!(peer = %self.peer.address, %error, "a stream ends");
                Poll::Ready(Some(Frame::trailers(trailers(Some(&error)))))
            }
        }
    }
}

/// The status of a call, as trailers or as the headers of an answer that is nothing else.
pub(crate) fn trailers(error: Option<&Error>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code = error.map_or(0, Error::grpc_code);
    trailers.insert("grpc-status", HeaderValue::from(code));
    let message = error.map(|error| percent_encode(&error.to_string()));
    if let Some(message) = message.and_then(|message| HeaderValue::from_str(&message).ok()) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

fn percent_encode(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
