//! Sockets and tasks: accepting connections, serving streams on them, and ending in good order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wire::body::{Discovery, trailers};
use crate::wire::methods;
use crate::{Error, Fleet, Snapshots};

/// Limits and times.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// A reconnecting Envoy repeats every name and version it knows in one message.
    pub max_message_bytes: usize,
    /// The limit before a client has said who it is.
    pub max_first_message_bytes: usize,
    /// Streams at once, over all connections.
    pub max_streams: usize,
    /// Names that one stream may ask for, of one type.
    pub max_names: usize,
    /// Streams end by themselves after this, so that a fleet spreads over replicas again.
    pub max_stream_age: Duration,
    /// How long connections may go on when the server ends.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            max_first_message_bytes: 64 << 20,
            max_streams: 200_000,
            max_names: 1_000_000,
            max_stream_age: Duration::from_secs(12 * 3600),
            drain: Duration::from_secs(5),
        }
    }
}

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub snapshots: Snapshots,
    pub fleet: Fleet,
    pub options: ServerOptions,
    streams: AtomicUsize,
}

/// The xDS server.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

impl Server {
    #[must_use]
    pub fn new(snapshots: Snapshots, options: ServerOptions) -> Self {
        let shared = Shared { snapshots, fleet: Fleet::default(), options, streams: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn fleet(&self) -> Fleet {
        self.shared.fleet.clone()
    }

    /// Serves until `shutdown` ends; then streams are told to go elsewhere.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let (draining, drain) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        connections.spawn(connection(self.shared.clone(), socket, peer, drain.clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: others may end meanwhile.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(listener);
        draining.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.shared.options.drain, ended).await.is_err() {
            tracing::info!("connections that did not end in time are cut");
        }
    }
}

async fn connection(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, drain: watch::Receiver<bool>) {
    let _ = socket.set_nodelay(true);
    let service = {
        let drain = drain.clone();
        service_fn(move |request| {
            let response = answer(&shared, peer, request, drain.clone());
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(100_000)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let mut drain = drain;
    let drained = async { drain.wait_for(|draining| *draining).await.map(|_| ()) };
    tokio::select! {
        result = &mut connection => {
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            return;
        }
        _ = drained => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn answer(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
    drain: watch::Receiver<bool>,
) -> Response<ResponseBody> {
    let Some((variant, only)) = methods::lookup(request.uri().path()) else { return refuse(&Error::NoSuchMethod) };
    if !shared.snapshots.is_ready() {
        return refuse(&Error::NotReady);
    }
    let Some(place) = Place::take(shared) else {
        return refuse(&Error::TooMuch("this server has all the streams it can serve".into()));
    };
    let body = Discovery::new(shared.clone(), peer, variant, only, request.into_body(), drain);
    let mut response = Response::new(Held { body, _place: place }.boxed_unsync());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer that is nothing but a status.
fn refuse(error: &Error) -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = trailers(Some(error));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// One of the streams that may be served at once; given back when dropped.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        if shared.streams.fetch_add(1, Ordering::Relaxed) < shared.options.max_streams {
            return Some(Self(shared.clone()));
        }
        shared.streams.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that holds its place.
struct Held {
    body: Discovery,
    _place: Place,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }
}
