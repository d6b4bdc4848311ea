//! The stock rate limit service with a Redis, on loopback, configured over xDS by this process.
//!
//! Redis is taken from the path. The service is taken from `.cache/ratelimit/` of the workspace and put there with Go
//! when it is missing; without Go or Redis there is nothing to compare with.

#![allow(dead_code, clippy::print_stderr, clippy::unwrap_used)]

use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use xds_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use xds_api::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use xds_api::google::protobuf::Any;
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;

const MODULE: &str = "github.com/envoyproxy/ratelimit/src/service_cmd@v1.4.1-0.20260122083618-3fb702589d36";

pub(crate) type Client = RateLimitServiceClient<tonic::transport::Channel>;

/// A process that ends with its owner.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Stock {
    pub(crate) client: Client,
    pub(crate) service: Process,
    pub(crate) redis: Process,
    config: watch::Sender<Vec<RateLimitConfig>>,
    _state: tempfile::TempDir,
}

fn found(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn service_binary() -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/ratelimit");
    let binary = cache.join("service_cmd");
    if !binary.is_file() {
        std::fs::create_dir_all(&cache).ok()?;
        let bin = cache.canonicalize().ok()?;
        Command::new(found("go")?).args(["install", MODULE]).env("GOBIN", bin).status().ok()?;
    }
    binary.is_file().then_some(binary)
}

pub(crate) fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Stock {
    /// `None`, and why on the error output, where it cannot run.
    pub(crate) async fn start(config: Vec<RateLimitConfig>) -> Option<Self> {
        let (Some(redis), Some(binary)) = (found("redis-server"), service_binary()) else {
            eprintln!("SKIPPED: the stock rate limit service needs redis-server and Go on the path");
            return None;
        };
        let state = tempfile::tempdir().unwrap();
        let redis_port = free_port().to_string();
        let redis = Command::new(redis)
            .args(["--bind", "127.0.0.1", "--port", &redis_port, "--save", "", "--appendonly", "no"])
            .current_dir(state.path())
            .stdout(Stdio::null())
            .spawn();
        let redis = Process(redis.unwrap());
        wait_for(&format!("127.0.0.1:{redis_port}")).await;

        let (sender, receiver) = watch::channel(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(Configurer(receiver)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);

        let address = format!("127.0.0.1:{}", free_port());
        let (http, debug) = (free_port().to_string(), free_port().to_string());
        let service = Command::new(binary)
            .env_clear()
            .envs([
                ("HOST", "127.0.0.1"),
                ("PORT", &http),
                ("GRPC_HOST", "127.0.0.1"),
                ("GRPC_PORT", address.rsplit(':').next().unwrap()),
                ("DEBUG_HOST", "127.0.0.1"),
                ("DEBUG_PORT", &debug),
                ("USE_STATSD", "false"),
                ("DISABLE_STATS", "true"),
                ("LOG_LEVEL", "ERROR"),
                ("REDIS_SOCKET_TYPE", "tcp"),
                ("REDIS_URL", &format!("127.0.0.1:{redis_port}")),
                ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
                ("CONFIG_GRPC_XDS_SERVER_URL", &xds.to_string()),
                ("CONFIG_GRPC_XDS_NODE_ID", "test"),
                ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"),
                ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "1s"),
                ("XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "2"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let service = Process(service.unwrap());
        wait_for(&address).await;
        let channel = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
        Some(Self { client: Client::new(channel), service, redis, config: sender, _state: state })
    }

    /// Sends a configuration. The service takes it up a little later.
    pub(crate) fn send(&self, config: Vec<RateLimitConfig>) {
        self.config.send_replace(config);
    }
}

async fn wait_for(address: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {address}");
        tokio::task::yield_now().await;
    }
}

/// A management server with one client and one type: every configuration is the whole state.
struct Configurer(watch::Receiver<Vec<RateLimitConfig>>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Configurer {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = requests.message().await {} });
        let mut version = 0;
        let responses = tokio_stream::wrappers::WatchStream::new(self.0.clone()).map(move |config| {
            version += 1;
            let resource = |config: &RateLimitConfig| Any {
                type_url: <RateLimitConfig as prost::Name>::type_url(),
                value: config.encode_to_vec().into(),
            };
            Ok(DiscoveryResponse {
                version_info: format!("{version}"),
                nonce: format!("{version}"),
                type_url: <RateLimitConfig as prost::Name>::type_url(),
                resources: config.iter().map(resource).collect(),
                ..DiscoveryResponse::default()
            })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
