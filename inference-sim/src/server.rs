//! The server: a request's way from the socket to its answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{ApiError, Dialect};
use crate::fault::{Fault, Standing};
use crate::load::{Load, Meter, Running};
use crate::log::{Log, Seen};
use crate::options::Options;
use crate::reply::{self, Answer, Body, Manner};
use crate::{api, control, form};

/// Larger bodies are refused.
const MAX_BODY: usize = 64 << 20;

/// Everything a request may read.
#[derive(Debug)]
pub(crate) struct Sim {
    pub options: Options,
    pub faults: Standing,
    pub meter: Arc<Meter>,
    pub log: Log,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Simulator {
    pub address: SocketAddr,
    sim: Arc<Sim>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::bind(options, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(options: Options, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let meter = Arc::new(Meter::new(options.max_running));
        let sim = Arc::new(Sim { options, faults: Standing::default(), meter, log: Log::default() });
        let task = tokio::spawn(accept(listener, sim.clone()));
        Ok(Self { address, sim, task })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests that arrived, oldest first; those of `/sim`, `/health` and `/metrics` are left out.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.sim.log.all()
    }

    /// Orders a fault for the requests to come.
    pub fn inject(&self, fault: Fault) {
        self.sim.faults.set(Some(fault));
    }

    /// Takes the fault back.
    pub fn recover(&self) {
        self.sim.faults.set(None);
    }

    /// Reports this load in place of the real one.
    pub fn pretend(&self, load: Load) {
        self.sim.meter.pretend(Some(load));
    }

    /// What the server reports.
    #[must_use]
    pub fn load(&self) -> Load {
        self.sim.meter.load()
    }

    /// How many clients left before their answer was complete.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.sim.meter.aborted()
    }

    /// Serves until the task is stopped.
    pub async fn wait(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, sim: Arc<Sim>) {
    // Connections end with the server: their tasks are in a set that dies with this one.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let sim = sim.clone();
        let service = service_fn(move |request| serve(sim.clone(), request));
        connections.spawn(async move {
            let _ = socket.set_nodelay(true);
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// An error breaks the connection off without an answer.
async fn serve(sim: Arc<Sim>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let dialect = Dialect::of_path(&path);
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refuse(&ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."), dialect)),
    };
    if let Some(response) = control::answer(&sim, &parts.method, &path, &body) {
        return Ok(response);
    }
    sim.log.add(Seen::new(&parts, &body));
    let fault = sim.faults.strike(&parts.headers);
    let running = sim.meter.admit().await;
    if fault.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    if fault.close_after == Some(0) {
        return Err(io::Error::other("broken off as ordered"));
    }
    let call = Call { sim: &sim, method: &parts.method, path: &path, headers: &parts.headers };
    let mut response = match call.answer(body, &fault).await {
        Ok(answer) => call.response(answer, &fault, running).await,
        Err(error) => {
            let mut running = running;
            running.complete();
            refuse(&error, dialect)
        }
    };
    if let (true, Some(seconds)) = (response.status().as_u16() >= 400, fault.retry_after) {
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    if let Ok(name) = HeaderValue::from_str(&sim.options.name) {
        response.headers_mut().insert("x-sim-server", name);
    }
    Ok(response)
}

/// One request, its body apart.
struct Call<'a> {
    sim: &'a Sim,
    method: &'a http::Method,
    path: &'a str,
    headers: &'a HeaderMap,
}

impl Call<'_> {
    async fn answer(&self, body: Bytes, fault: &Fault) -> Result<Answer, ApiError> {
        if let Some(status) = fault.status {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(ApiError::new(status, "Failed as ordered."));
        }
        self.authenticate()?;
        let endpoint = api::find(self.method, self.path)?;
        let options = self.options();
        match endpoint {
            api::Endpoint::Get(answer) => Ok(answer(&options)),
            api::Endpoint::Post(answer) => {
                let value = form::read(self.headers, body).await?;
                let request_id = self.header("x-request-id").map_or_else(api::fresh_id, str::to_owned);
                let exchange = api::Exchange { options: &options, meter: &self.sim.meter, request_id: &request_id };
                answer(&exchange, value)
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's options, with what this request orders otherwise: `x-sim-completion-tokens` and its like.
    fn options(&self) -> Options {
        let number = |name: &str| self.header(name).and_then(|value| value.parse().ok());
        let mut options = self.sim.options.clone();
        options.completion_tokens = number("x-sim-completion-tokens").unwrap_or(options.completion_tokens);
        options.reasoning_tokens = number("x-sim-reasoning-tokens").unwrap_or(options.reasoning_tokens);
        options.cached_tokens = number("x-sim-cached-tokens").unwrap_or(options.cached_tokens);
        options
    }

    /// `/v1` wants the key, as a bearer token or the way Anthropic's clients send it; the rest is open.
    fn authenticate(&self) -> Result<(), ApiError> {
        let Some(key) = self.sim.options.api_key.as_deref().filter(|_| self.path.starts_with("/v1")) else {
            return Ok(());
        };
        let bearer = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if bearer.or_else(|| self.header("x-api-key")) == Some(key) {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "The API key is missing or wrong."))
    }

    async fn response(&self, answer: Answer, fault: &Fault, running: Running) -> Response<Body> {
        let options = &self.sim.options;
        if !options.first_token.is_zero() {
            tokio::time::sleep(options.first_token).await;
        }
        let pace = self.header("x-sim-pace-ms").and_then(|value| value.parse().ok()).map(Duration::from_millis);
        let manner = Manner { pace: pace.unwrap_or(options.pace), close_after: fault.close_after };
        let asked = self.header("endpoint-load-metrics-format").or(options.always_report_load.then_some("TEXT"));
        // Taken while the request still runs: it is part of the load.
        let report = asked.and_then(|format| self.sim.meter.report(format));
        let mut response = reply::response(answer, &manner, Some(running));
        if let Some(report) = report.and_then(|report| HeaderValue::from_str(&report).ok()) {
            response.headers_mut().insert("endpoint-load-metrics", report);
        }
        response
    }
}

pub(crate) fn refuse(error: &ApiError, dialect: Dialect) -> Response<Body> {
    let whole = Manner { pace: Duration::ZERO, close_after: None };
    let mut response = reply::response(Answer::Json(error.body(dialect)), &whole, None);
    *response.status_mut() = error.status;
    response
}
