//! A response body that is the stream itself.
//!
//! It is polled when the client can take more: only then is the state machine asked what to send, so a slow client costs
//! nothing and always gets the newest. There is no task, no channel and no buffer for a stream.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream as _;
use tokio_stream::wrappers::WatchStream;

use super::deframe::Deframer;
use super::request::{DeltaRequest, Identity, SotwRequest};
use crate::Error;
use crate::fleet::{Client, Member};
use crate::protocol::{Event, Stream, Variant};
use crate::server::Shared;
use crate::snapshot::GroupKey;
use xds_api::ResourceType;

pub(crate) struct Discovery {
    shared: Arc<Shared>,
    peer: SocketAddr,
    variant: Variant,
    only: Option<ResourceType>,
    incoming: Incoming,
    deframer: Deframer,
    started: Instant,
    running: Option<Running>,
    draining: WatchStream<bool>,
    wake_at: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// What begins with the first message.
struct Running {
    stream: Stream,
    member: Member,
    changes: WatchStream<u64>,
}

impl Discovery {
    pub(crate) fn new(
        shared: Arc<Shared>,
        peer: SocketAddr,
        variant: Variant,
        only: Option<ResourceType>,
        incoming: Incoming,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            shared,
            peer,
            variant,
            only,
            incoming,
            deframer: Deframer::default(),
            started: Instant::now(),
            running: None,
            draining: WatchStream::from_changes(draining),
            wake_at: None,
            ended: false,
        }
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
                    let Some(data) = frame.data_ref() else { continue };
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
        let group = self.shared.snapshots.group(&key);
        let changes = WatchStream::from_changes(group.watch());
        let stream = Stream::new(self.variant, self.only, group, self.shared.options.max_names);
        let member = self.shared.fleet.joined(Client {
            gateway: key,
            node: identity.id,
            version: identity.version,
            locality: identity.locality,
            address: self.peer.to_string(),
            variant: if self.variant == Variant::Delta { "delta" } else { "sotw" },
            connected: SystemTime::now(),
            types: Default::default(),
        });
        self.running = Some(Running { stream, member, changes });
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        let Some(running) = &self.running else { return };
        let now = SystemTime::now();
        match event {
            Event::Acknowledged { kind, waited_since } => {
                let entry = running.stream.types().find(|entry| entry.kind == *kind);
                if let Some(state) = entry.and_then(|entry| entry.base.as_ref()) {
                    let sent = self.started.elapsed().saturating_sub(*waited_since);
                    // A state from before the stream began says nothing about how long its client took.
                    let took = now.duration_since(state.published).unwrap_or_default();
                    let took = if took > self.started.elapsed() { sent } else { took };
                    running.member.acknowledged(*kind, &state.version, took);
                }
            }
            Event::Rejected { kind, message, suspects } => {
                running.member.rejected(*kind, message, suspects);
                let gateway = &running.stream.group().key;
                tracing::warn!(%gateway, ?kind, message, "an Envoy rejected configuration");
            }
        }
        if running.stream.settle(event, now) {
            self.shared.snapshots.rejected();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if let Poll::Ready(Some(true)) = Pin::new(&mut self.draining).poll_next(cx) {
            return Poll::Ready(Err(Error::Draining));
        }
        let over = self.poll_requests(cx)?;
        if over {
            return Poll::Ready(Ok(None));
        }
        let elapsed = self.elapsed();
        if elapsed > self.shared.options.max_stream_age {
            return Poll::Ready(Err(Error::Draining));
        }
        let Some(running) = &mut self.running else { return Poll::Pending };
        // Only the newest state matters: any number of changes is one.
        while let Poll::Ready(Some(_)) = Pin::new(&mut running.changes).poll_next(cx) {}
        if let Some((kind, frame)) = running.stream.next(elapsed) {
            let entry = running.stream.types().find(|entry| entry.kind == kind);
            if let Some(pending) = entry.and_then(|entry| entry.pending.as_ref()) {
                running.member.sent(kind, &pending.state.version);
            }
            return Poll::Ready(Ok(Some(frame)));
        }
        match running.stream.deadline(elapsed) {
            Some(deadline) => {
                let at = self.started + deadline.max(elapsed + Duration::from_millis(1));
                let mut sleep = Box::pin(tokio::time::sleep_until(at));
                if sleep.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                self.wake_at = Some(sleep);
            }
            None => self.wake_at = None,
        }
        Poll::Pending
    }
}

impl Body for Discovery {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match this.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(frame))) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            Poll::Ready(Ok(None)) => {
                this.ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers(None)))))
            }
            Poll::Ready(Err(error)) => {
                this.ended = true;
                tracing::debug!(peer = %this.peer, %error, "a stream ends");
                Poll::Ready(Some(Ok(Frame::trailers(trailers(Some(&error))))))
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
