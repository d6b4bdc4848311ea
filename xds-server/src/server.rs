//! Sockets and tasks: accepting connections, serving streams on them, and ending in good order.

use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::Either;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::codegen::Service as _;
use xds_api::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;

use crate::access::identities;
use crate::csds::ClientStatus;
use crate::wire::alarm::Alarms;
use crate::wire::body::{Discovery, trailers};
use crate::wire::methods;
use crate::{Access, Error, Fleet, Metrics, Snapshots, Tls};

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
    /// How long a client may take to begin: to end its handshake, and to say who it is.
    pub patience: Duration,
    /// Without it, in plain text.
    pub tls: Option<Tls>,
    pub access: Access,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            max_first_message_bytes: 4 << 20,
            max_streams: 200_000,
            max_names: 1_000_000,
            max_stream_age: Duration::from_secs(12 * 3600),
            drain: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            tls: None,
            access: Access::default(),
        }
    }
}

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub snapshots: Snapshots,
    pub fleet: Fleet,
    pub options: ServerOptions,
    pub metrics: Metrics,
    draining: AtomicBool,
    streams: AtomicUsize,
    /// Streams that have not said yet who they are.
    pub strangers: Alarms,
    status: ClientStatusDiscoveryServiceServer<ClientStatus>,
}

impl Shared {
    /// Whether streams are to go elsewhere; each is woken when that begins.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn wake_streams(&self) {
        self.strangers.ring();
        self.snapshots.wake_streams();
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    /// What its certificate vouches for.
    pub identities: Arc<[String]>,
}

/// The xDS server.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

type Answer = Result<Response<ResponseBody>, Infallible>;

impl Server {
    #[must_use]
    pub fn new(snapshots: Snapshots, options: ServerOptions) -> Self {
        let fleet = Fleet::default();
        let status = ClientStatusDiscoveryServiceServer::new(ClientStatus { fleet: fleet.clone() });
        let (metrics, draining, streams, strangers) = Default::default();
        Self { shared: Arc::new(Shared { snapshots, fleet, options, metrics, draining, streams, strangers, status }) }
    }

    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    #[must_use]
    pub fn fleet(&self) -> Fleet {
        self.shared.fleet.clone()
    }

    /// Serves until `shutdown` ends; then streams are told to go elsewhere.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let mut connections = JoinSet::new();
        let mut look_at_files = tokio::time::interval(Duration::from_secs(1));
        let age = self.shared.options.max_stream_age / LOOKS_AT_AGES;
        let mut look_at_ages = tokio::time::interval(age.max(Duration::from_millis(1)));
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, address)) => {
                        prepare(&socket);
                        let shared = self.shared.clone();
                        // Each way a task of its own: an idle connection pays for what it uses.
                        if shared.options.tls.is_some() {
                            connections.spawn(secured(shared, socket, address));
                        } else {
                            connections.spawn(connected(shared, socket, Peer { address, identities: Arc::from([]) }));
                        }
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: others may end meanwhile.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                // No stream has a timer for its age: all look, now and then.
                _ = look_at_ages.tick() => self.shared.wake_streams(),
                _ = look_at_files.tick(), if self.shared.options.tls.is_some() => {
                    if let Some(tls) = &self.shared.options.tls {
                        tls.reload_if_changed();
                    }
                }
            }
        }
        drop(listener);
        self.shared.draining.store(true, Ordering::Release);
        self.shared.wake_streams();
        let ended = self.streams_and_connections_end(&mut connections);
        if tokio::time::timeout(self.shared.options.drain, ended).await.is_err() {
            tracing::info!("connections that did not end in time are cut");
        }
    }
}

impl Server {
    /// Connections without a stream are nobody's: they are not waited for.
    async fn streams_and_connections_end(&self, connections: &mut JoinSet<()>) {
        while self.shared.streams.load(Ordering::Relaxed) > 0 {
            if let Ok(None) = tokio::time::timeout(LAST_WORDS, connections.join_next()).await {
                return;
            }
        }
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }
}

/// How long the status of a stream that has ended may take onto the wire.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A peer that is gone, without its connection being closed, is found out after this and the probes.
const SILENCE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;

/// So much of its age, at most, a stream lives too long.
const LOOKS_AT_AGES: u32 = 50;

/// How many connections may wait to be accepted: a whole fleet comes at once when a server comes back, and whoever finds no
/// place is cut off.
const BACKLOG: u32 = 16 << 10;

/// Opens a port for a fleet.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Who is gone without a word is found out by the kernel: pings of HTTP/2 cost each connection a timer, and every message a
/// look at it.
fn prepare(socket: &TcpStream) {
    let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE).with_retries(PROBES);
    let socket = SockRef::from(socket);
    let set = [socket.set_tcp_nodelay(true), socket.set_tcp_keepalive(&alive), {
        // What was sent and is not acknowledged stops probes: the same patience for that.
        #[cfg(target_os = "linux")]
        let set = socket.set_tcp_user_timeout(Some(SILENCE + PROBE * PROBES));
        #[cfg(not(target_os = "linux"))]
        let set = Ok(());
        set
    }];
    for error in set.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "an option of a socket is not set");
    }
}

async fn secured(shared: Arc<Shared>, socket: TcpStream, address: SocketAddr) {
    let Some(tls) = &shared.options.tls else { return };
    match tokio::time::timeout(shared.options.patience, tls.acceptor().accept(socket)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let identities = leaf.map_or_else(|| Arc::from([]), |leaf| identities(leaf));
            Box::pin(connected(shared, stream, Peer { address, identities })).await;
        }
        Ok(Err(error)) => {
            shared.metrics.refused_connection();
            tracing::debug!(peer = %address, %error, "no TLS handshake");
        }
        Err(_) => shared.metrics.refused_connection(),
    }
}

async fn connected(shared: Arc<Shared>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
    let address = peer.address;
    let draining = shared.clone();
    let peer = Arc::new(peer);
    let service = service_fn(move |request| answer(&shared, &peer, request));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(100_000)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut told = false;
    let result = poll_fn(|cx| {
        // The streams of a connection end when the server drains, and that wakes it.
        if !told && draining.is_draining() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(peer = %address, %error, "a connection ended");
    }
}

/// Streams are answered at once. What a rare call needs is boxed: it would otherwise lie idle beside every stream.
fn answer(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    request: Request<Incoming>,
) -> Either<Ready<Answer>, Pin<Box<dyn Future<Output = Answer> + Send>>> {
    let Some((variant, only)) = methods::lookup(request.uri().path()) else {
        let (shared, peer) = (shared.clone(), peer.clone());
        return Either::Right(Box::pin(async move { Ok(other(&shared, &peer, request).await) }));
    };
    let Some(place) = Place::take(shared) else {
        let error = Error::TooMuch("this server has all the streams it can serve".into());
        return Either::Left(ready(Ok(refuse(shared, &error))));
    };
    let stream = Discovery::new(shared.clone(), peer.clone(), variant, only, request.into_body());
    let mut response = Response::new(ResponseBody::Stream { stream, _place: place });
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Either::Left(ready(Ok(response)))
}

/// Calls that are no discovery. The view of the fleet is for whoever may ask for every Gateway.
async fn other(shared: &Arc<Shared>, peer: &Peer, request: Request<Incoming>) -> Response<ResponseBody> {
    if !request.uri().path().starts_with("/envoy.service.status.v3.ClientStatusDiscoveryService/") {
        return refuse(shared, &Error::NoSuchMethod);
    }
    if !shared.options.access.allows(&peer.identities, "*") {
        return refuse(shared, &Error::Forbidden("the view of the fleet is not for this identity".into()));
    }
    match shared.status.clone().call(request).await {
        Ok(response) => response.map(|body| ResponseBody::Other(body.boxed_unsync())),
        Err(never) => match never {},
    }
}

/// An answer that is nothing but a status.
fn refuse(shared: &Shared, error: &Error) -> Response<ResponseBody> {
    shared.metrics.ended(error.grpc_code());
    let body = Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut response = Response::new(ResponseBody::Other(body));
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

/// What is answered: a stream, which holds its place, or the answer to a rare call.
#[expect(clippy::large_enum_variant, reason = "nearly all are streams, and each would lie in a box of its own")]
enum ResponseBody {
    Stream { stream: Discovery, _place: Place },
    Other(UnsyncBoxBody<Bytes, tonic::Status>),
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Stream { stream, .. } => stream.poll_next(cx).map(|frame| frame.map(Ok)),
            Self::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }
}
