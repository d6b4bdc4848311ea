//! A server that answers with what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::{Authority, Leaf};

/// A free port of 127.0.0.1.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An HTTP server (HTTP/1.1 and HTTP/2) that answers every request with a JSON description of it and its own name.
///
/// With TLS, the description holds the name that the client asked for, and whether it showed a certificate. What else a
/// request asks for:
///
/// | header | answer |
/// |---|---|
/// | `x-echo-status: CODE` | has that status |
/// | `x-echo-location: URI` | sends there, unless the request is there already |
/// | `x-echo-events: MILLISECONDS` | is a stream of server-sent events, one each time, without end |
/// | `upgrade: websocket` | gives back whatever is sent on the connection |
#[derive(Debug)]
pub struct Echo {
    pub port: u16,
    served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Echo {
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        Self::start_at(name, ANYWHERE).await
    }

    pub async fn start_at(name: &str, address: SocketAddr) -> anyhow::Result<Self> {
        Self::accept(name, address, None, None).await
    }

    /// With TLS, and with a text as its answer to everything.
    pub async fn saying(text: &str, leaf: &Leaf, address: SocketAddr) -> anyhow::Result<Self> {
        Self::accept("", address, Some(TlsAcceptor::from(leaf.server_config(None)?)), Some(text)).await
    }

    /// With a text as its answer to everything.
    pub async fn telling(text: &str) -> anyhow::Result<Self> {
        Self::accept("", ANYWHERE, None, Some(text)).await
    }

    /// With TLS; with an authority, only for clients that have a certificate of it.
    pub async fn start_tls(name: &str, leaf: &Leaf, clients: Option<&Authority>) -> anyhow::Result<Self> {
        Self::accept(name, ANYWHERE, Some(TlsAcceptor::from(leaf.server_config(clients)?)), None).await
    }

    async fn accept(
        name: &str,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        text: Option<&str>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        let served = Arc::new(AtomicU64::new(0));
        let server = Server { name: Arc::from(name), tls, text: text.map(Arc::from), served: served.clone() };
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(server.clone().connection(socket));
            }
        });
        Ok(Self { port, served, task })
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Server {
    name: Arc<str>,
    tls: Option<TlsAcceptor>,
    text: Option<Arc<str>>,
    served: Arc<AtomicU64>,
}

impl Server {
    async fn connection(self, socket: TcpStream) {
        let Some(acceptor) = &self.tls else { return self.serve(socket, Value::Null).await };
        if let Ok(socket) = acceptor.accept(socket).await {
            let session = socket.get_ref().1;
            let tls = json!({ "sni": session.server_name(), "client": session.peer_certificates().is_some() });
            self.serve(socket, tls).await;
        }
    }

    async fn serve<S>(&self, socket: S, tls: Value)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let (server, tls) = (self.clone(), tls.clone());
            async move {
                let response = match &server.text {
                    Some(text) => json_of(text.to_string()),
                    None => answer(&server.name, &tls, request).await,
                };
                server.served.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(response)
            }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(name: &str, tls: &Value, mut request: Request<Incoming>) -> Answer {
    if request.headers().get("upgrade").is_some_and(|protocol| protocol == "websocket") {
        tokio::spawn(give_back(hyper::upgrade::on(&mut request)));
        let switch = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return switch.body(Full::default().boxed_unsync()).unwrap_or_default();
    }
    let milliseconds = request.headers().get("x-echo-events").and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(milliseconds) = milliseconds {
        let events = Response::builder().header("content-type", "text/event-stream");
        return events.body(events_every(Duration::from_millis(milliseconds))).unwrap_or_default();
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut headers: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for (name, value) in &parts.headers {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let authority = parts.uri.authority().map(ToString::to_string);
    let seen = json!({
        "name": name,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "host": authority.or_else(|| headers.get("host").and_then(|values| values.first().cloned())),
        "version": format!("{:?}", parts.version),
        "tls": tls,
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let status = parts.headers.get("x-echo-status").and_then(|value| value.to_str().ok()?.parse().ok());
    let elsewhere = parts.headers.get("x-echo-location").filter(|location| {
        let location = location.to_str().ok().and_then(|text| text.parse::<http::Uri>().ok());
        location.is_some_and(|location| location.path() != parts.uri.path())
    });
    let mut response = json_of(seen.to_string());
    if let Some(location) = elsewhere {
        response.headers_mut().insert("location", location.clone());
        *response.status_mut() = StatusCode::FOUND;
        return response;
    }
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    response
}

fn json_of(text: String) -> Answer {
    let response = Response::builder().header("content-type", "application/json");
    response.body(Full::new(Bytes::from(text)).boxed_unsync()).unwrap_or_default()
}

async fn give_back(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(connection) = upgrade.await else { return };
    let (mut from, mut to) = tokio::io::split(TokioIo::new(connection));
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

fn events_every(period: Duration) -> UnsyncBoxBody<Bytes, Infallible> {
    let events = futures::stream::unfold(0_u64, move |count| async move {
        if count > 0 {
            tokio::time::sleep(period).await;
        }
        let event = Bytes::from(format!("data: {count}\n\n"));
        Some((Ok(Frame::data(event)), count + 1))
    });
    StreamBody::new(events).boxed_unsync()
}
