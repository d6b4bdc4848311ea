//! The service on its sockets, and what has to happen now and then: sweeping, and saving the counters.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::service::accesslog::v3::access_log_service_server::{AccessLogService, AccessLogServiceServer};
use xds_api::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use xds_api::envoy::service::ratelimit::v3::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use xds_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};

use crate::decide::Unanswered;
use crate::limiter::RateLimiter;
use crate::unit::Seconds;

const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How long a shutdown waits for connections whose client does not let go.
const GRACE: Duration = Duration::from_secs(5);

/// A file for the counters, and how often it is written. What is spent between two writes is lost in a crash, and
/// only then: a shutdown writes too.
#[derive(Clone, Debug)]
pub struct State {
    pub file: PathBuf,
    pub every: Duration,
}

/// The time that limits are cut by.
#[must_use]
pub fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

struct Service {
    limiter: Arc<RateLimiter>,
    stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        match self.limiter.decide_patiently(request.get_ref(), now).await {
            Ok(response) => Ok(Response::new(response)),
            Err(error @ Unanswered::Full) => Err(Status::resource_exhausted(error.to_string())),
            Err(error) => Err(Status::unknown(error.to_string())),
        }
    }
}

#[tonic::async_trait]
impl AccessLogService for Service {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut stream = request.into_inner();
        let mut stopping = self.stopping.clone();
        loop {
            // Whatever has arrived is settled before a shutdown ends the stream: Envoy never ends it itself.
            let message = tokio::select! {
                biased;
                message = stream.message() => message,
                _ = stopping.wait_for(|stopping| *stopping) => Ok(None),
            };
            match message {
                Ok(Some(message)) => {
                    self.limiter.settle_logged(&message, now());
                }
                Ok(None) => return Ok(Response::new(StreamAccessLogsResponse {})),
                Err(error) => {
                    self.limiter.stats.log_streams_broken.fetch_add(1, Relaxed);
                    return Err(error);
                }
            }
        }
    }
}

/// Serves until `shutdown` is done and the calls under way are answered; then the counters are saved.
///
/// Counters from an earlier run are expected to be loaded already, with [`RateLimiter::load`].
pub async fn serve(
    limiter: Arc<RateLimiter>,
    listener: TcpListener,
    state: Option<State>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (stop, stopping) = watch::channel(false);
    let (stop_upkeep, upkeep_stopped) = watch::channel(false);
    let upkeep = tokio::spawn(upkeep(Arc::clone(&limiter), state, upkeep_stopped));
    let service = || Service { limiter: Arc::clone(&limiter), stopping: stopping.clone() };
    let served = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(RateLimitServiceServer::new(service()))
        .add_service(AccessLogServiceServer::new(service()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            shutdown.await;
            stop.send_replace(true);
        });
    let mut stopped = stopping.clone();
    let impatient = async {
        // The sender lives as long as the server.
        let _ = stopped.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = served => served,
        () = impatient => Ok(()),
    };
    stop_upkeep.send_replace(true);
    if let Err(error) = upkeep.await {
        tracing::error!(%error, "the upkeep of rate limit counters failed");
    }
    served
}

async fn upkeep(limiter: Arc<RateLimiter>, state: Option<State>, mut stopped: watch::Receiver<bool>) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut save = tokio::time::interval(state.as_ref().map_or(SWEEP_EVERY, |state| state.every));
    save.tick().await;
    loop {
        let stopping = tokio::select! {
            _ = sweep.tick() => {
                limiter.sweep(now());
                continue;
            }
            _ = save.tick() => false,
            _ = stopped.changed() => true,
        };
        if let Some(state) = &state {
            let (limiter, file) = (Arc::clone(&limiter), state.file.clone());
            match tokio::task::spawn_blocking(move || limiter.save(&file, now())).await {
                Ok(Ok(counters)) => tracing::debug!(counters, "rate limit counters saved"),
                Ok(Err(error)) => tracing::error!(%error, "rate limit counters not saved"),
                Err(error) => tracing::error!(%error, "rate limit counters not saved"),
            }
        }
        if stopping {
            return;
        }
    }
}
