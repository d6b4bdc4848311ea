//! Sockets and tasks: accepting connections, serving streams on them, and ending in good order.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codegen::Service as _;
use xds_api::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;

use crate::access::identities;
use crate::csds::ClientStatus;
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
    status: ClientStatusDiscoveryServiceServer<ClientStatus>,
}

impl Shared {
    /// Whether streams are to go elsewhere; each is woken through its group when that begins.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
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

type ResponseBody = UnsyncBoxBody<Bytes, tonic::Status>;

impl Server {
    #[must_use]
    pub fn new(snapshots: Snapshots, options: ServerOptions) -> Self {
        let fleet = Fleet::default();
        let status = ClientStatusDiscoveryServiceServer::new(ClientStatus { fleet: fleet.clone() });
        let (metrics, draining, streams) = Default::default();
        Self { shared: Arc::new(Shared { snapshots, fleet, options, metrics, draining, streams, status }) }
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
        let (draining, drain) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut look_at_files = tokio::time::interval(Duration::from_secs(1));
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
                _ = look_at_files.tick(), if self.shared.options.tls.is_some() => {
                    if let Some(tls) = &self.shared.options.tls {
                        tls.reload_if_changed();
                    }
                }
            }
        }
        drop(listener);
        self.shared.draining.store(true, Ordering::Release);
        self.shared.snapshots.wake_streams();
        draining.send_replace(true);
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

async fn connection(shared: Arc<Shared>, socket: TcpStream, address: SocketAddr, drain: watch::Receiver<bool>) {
    let _ = socket.set_nodelay(true);
    // Each way in a box of its own: an idle connection pays for what it uses.
    if shared.options.tls.is_some() {
        Box::pin(secured(shared, socket, address, drain)).await;
    } else {
        Box::pin(connected(shared, socket, Peer { address, identities: Arc::from([]) }, drain)).await;
    }
}

async fn secured(shared: Arc<Shared>, socket: TcpStream, address: SocketAddr, drain: watch::Receiver<bool>) {
    let Some(tls) = &shared.options.tls else { return };
    match tokio::time::timeout(shared.options.patience, tls.acceptor().accept(socket)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let identities = leaf.map_or_else(|| Arc::from([]), |leaf| identities(leaf));
            Box::pin(connected(shared, stream, Peer { address, identities }, drain)).await;
        }
        Ok(Err(error)) => {
            shared.metrics.refused_connection();
            tracing::debug!(peer = %address, %error, "no TLS handshake");
        }
        Err(_) => shared.metrics.refused_connection(),
    }
}

async fn connected(
    shared: Arc<Shared>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    drain: watch::Receiver<bool>,
) {
    let address = peer.address;
    let draining = shared.clone();
    let service = service_fn(move |request| answer(shared.clone(), peer.clone(), request, drain.clone()));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
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

async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    request: Request<Incoming>,
    drain: watch::Receiver<bool>,
) -> Result<Response<ResponseBody>, Infallible> {
    let Some((variant, only)) = methods::lookup(request.uri().path()) else {
        // Boxed: what a rare call needs would otherwise lie idle beside every stream.
        return Ok(Box::pin(other(&shared, &peer, request)).await);
    };
    let Some(place) = Place::take(&shared) else {
        return Ok(refuse(&shared, &Error::TooMuch("this server has all the streams it can serve".into())));
    };
    let body = Discovery::new(shared, peer, variant, only, request.into_body(), drain);
    let body = Held { body, _place: place }.map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
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
        Ok(response) => response.map(|body| body.boxed_unsync()),
        Err(never) => match never {},
    }
}

/// An answer that is nothing but a status.
fn refuse(shared: &Shared, error: &Error) -> Response<ResponseBody> {
    shared.metrics.ended(error.grpc_code());
    let mut response = Response::new(Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync());
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
