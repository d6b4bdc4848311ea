//! An HTTP client that says what it sends and shows what it got.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::ClientTls;

#[derive(Clone, Debug)]
pub struct HttpClient {
    port: u16,
    host: Option<String>,
    http2: bool,
    tls: Option<ClientTls>,
    headers: Vec<(String, String)>,
}

/// A connection that speaks another protocol now.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection that stays open from one request to the next, over HTTP/1.1.
#[derive(Debug)]
pub struct Connection {
    client: HttpClient,
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, body.into()).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let request = self.client.request(method, path, body)?;
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }
}

/// A reply whose body is still coming. Dropped early, it hangs up.
#[derive(Debug)]
pub struct StreamingReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    buffer: String,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    pub name: Option<String>,
    pub data: String,
}

impl SseEvent {
    /// The data as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut event = Self { name: None, data: String::new() };
        for line in text.lines() {
            match line.split_once(':') {
                Some(("event", name)) => event.name = Some(name.trim_start().to_owned()),
                Some(("data", data)) => event.data.push_str(data.trim_start()),
                _ => {}
            }
        }
        event
    }
}

impl StreamingReply {
    /// The next event; none at the end of the stream.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn next_event(&mut self) -> anyhow::Result<Option<SseEvent>> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = SseEvent::parse(event);
                self.buffer = rest.to_owned();
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame.context("the stream broke off")?.into_data().unwrap_or_default();
                    self.buffer.push_str(&String::from_utf8_lossy(&data));
                }
            }
        }
    }

    /// All further events.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn events(&mut self) -> anyhow::Result<Vec<SseEvent>> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().await? {
            events.push(event);
        }
        Ok(events)
    }
}

impl HttpClient {
    /// A client of a port of 127.0.0.1. Each request has a connection of its own.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, host: None, http2: false, tls: None, headers: Vec::new() }
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// HTTP/2: with TLS by negotiation, without it at once.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Opens a connection for many requests, without TLS.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.context("connect")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Connection { client: self.clone(), sender })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, body).await
    }

    /// Posts JSON.
    pub async fn post_json(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<Reply> {
        self.clone().header("content-type", "application/json").post(path, body.to_string()).await
    }

    /// Posts JSON and reads the answer as it comes.
    pub async fn stream_json(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<StreamingReply> {
        self.clone().header("content-type", "application/json").stream(Method::POST, path, body.to_string()).await
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Reply> {
        let StreamingReply { status, headers, body, .. } = self.stream(method, path, body).await?;
        Ok(Reply { status, headers, body: body.collect().await?.to_bytes() })
    }

    /// Sends a request; ends when the head of the answer is there.
    pub async fn stream(&self, method: Method, path: &str, body: impl Into<Bytes>) -> anyhow::Result<StreamingReply> {
        let request = self.request(method, path, body.into())?;
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.context("connect")?;
        socket.set_nodelay(true)?;
        let response = match &self.tls {
            None => self.exchange(socket, request).await?,
            Some(tls) => {
                let config = tls.config(if self.http2 { b"h2" } else { b"http/1.1" })?;
                let name = ServerName::try_from(tls.server_name.clone())?;
                let socket = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.context("TLS")?;
                self.exchange(socket, request).await?
            }
        };
        let (parts, body) = response.into_parts();
        Ok(StreamingReply { status: parts.status, headers: parts.headers, body, buffer: String::new() })
    }

    /// Asks for another protocol on the connection: the connection, or the answer of whoever refuses.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> anyhow::Result<Result<Upgraded, Reply>> {
        let asking = self.clone().header("connection", "upgrade").header("upgrade", protocol);
        let request = asking.request(Method::GET, path, Bytes::new())?;
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.context("connect")?;
        let mut response = asking.exchange(socket, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Ok(TokioIo::new(hyper::upgrade::on(&mut response).await?)));
        }
        let (parts, body) = response.into_parts();
        Ok(Err(Reply { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() }))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let named = self.host.clone().or_else(|| self.tls.as_ref().map(|tls| tls.server_name.clone()));
        let host = named.unwrap_or_else(|| format!("127.0.0.1:{}", self.port));
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = if self.http2 { format!("{scheme}://{host}{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        if !self.http2 {
            request = request.header("host", host);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn exchange<S>(&self, socket: S, request: Request<Full<Bytes>>) -> anyhow::Result<http::Response<Incoming>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(socket);
        Ok(if self.http2 {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await?
        })
    }
}
