//! The service on a socket: calls, log streams, and a restart.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{ask, brief, config, request};
use ratelimit::{Filter, METADATA_PREFIX, Options, RateLimiter, State};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use xds_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use xds_api::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use xds_api::envoy::service::ratelimit::v3::RateLimitResponse;
use xds_api::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;

struct Running {
    limiter: Arc<RateLimiter>,
    channel: Channel,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn start(file: &Path) -> Running {
    let limiter = RateLimiter::new(&Options::default());
    limiter.load(file, ratelimit::now()).unwrap();
    limiter.apply(&[config("{domain: d, descriptors: [{key: k, rate_limit: {unit: YEAR, requests_per_unit: 100}}]}")]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let state = State { file: file.to_owned(), every: Duration::from_secs(3_600) };
    let server = tokio::spawn(ratelimit::serve(Arc::clone(&limiter), listener, Some(state), async {
        stopped.await.ok();
    }));
    let channel = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { limiter, channel, stop, server }
}

impl Running {
    async fn call(&self, ask: common::Ask) -> RateLimitResponse {
        let mut client = RateLimitServiceClient::new(self.channel.clone());
        client.should_rate_limit(request(&[ask])).await.unwrap().into_inner()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
    }

    async fn until(&self, spent: u64, reserved: u64) {
        loop {
            let page = self.limiter.list(&Filter::default(), ratelimit::now());
            if page.counters.first().is_some_and(|counter| (counter.spent, counter.reserved) == (spent, reserved)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn log(response: &RateLimitResponse, tokens: u64) -> StreamAccessLogsMessage {
    let name = response.dynamic_metadata.as_ref().unwrap().fields.keys().next().unwrap();
    assert!(name.starts_with(METADATA_PREFIX));
    let metadata = json!({"envoy.filters.http.ratelimit": {name: true}, "ns": {"tokens": tokens}});
    let entry = json!({"common_properties": {"metadata": {"filter_metadata": metadata}}});
    let value = json!({"http_logs": {"log_entry": [entry]}});
    let body = xds_api::message_from_value("envoy.service.accesslog.v3.StreamAccessLogsMessage", &value).unwrap();
    prost::Message::decode(body).unwrap()
}

#[tokio::test]
async fn calls_logs_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counters");
    let running = start(&file).await;
    let one = running.call(ask(&[("k", "a")]).hits(30).reserve("ns:tokens")).await;
    assert!(brief(&one).starts_with("ok [ok 70/100"));
    let two = running.call(ask(&[("k", "a")]).hits(30).reserve("ns:tokens")).await;
    running.until(0, 60).await;

    // A stream that is cut settles what it brought and nothing else.
    let (sender, receiver) = mpsc::channel(1);
    let mut client = AccessLogServiceClient::new(running.channel.clone());
    let stream = tokio::spawn(async move { client.stream_access_logs(ReceiverStream::new(receiver)).await });
    sender.send(log(&one, 5)).await.unwrap();
    running.until(5, 30).await;
    stream.abort();
    assert!(stream.await.unwrap_err().is_cancelled());

    // The next stream brings the rest; it stays open, and does not keep the service from stopping.
    let (sender, receiver) = mpsc::channel(1);
    let mut client = AccessLogServiceClient::new(running.channel.clone());
    let stream = tokio::spawn(async move { client.stream_access_logs(ReceiverStream::new(receiver)).await });
    sender.send(log(&two, 15)).await.unwrap();
    running.until(20, 0).await;
    running.call(ask(&[("k", "a")]).hits(7).reserve("ns:tokens")).await;
    running.stop().await;
    assert!(stream.await.unwrap().is_ok());

    // What was held and not settled is spent.
    let running = start(&file).await;
    running.until(27, 0).await;
    assert!(brief(&running.call(ask(&[("k", "a")]).hits(74)).await).starts_with("OVER"));
    running.stop().await;
}

/// Requests one after another use a budget to its end, though each holds all that is left while it is under way.
#[tokio::test]
async fn a_check_waits_for_a_settlement_that_is_on_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&directory.path().join("counters")).await;
    let (sender, receiver) = mpsc::channel(1);
    let mut client = AccessLogServiceClient::new(running.channel.clone());
    let stream = tokio::spawn(async move { client.stream_access_logs(ReceiverStream::new(receiver)).await });
    let mut passed = 0;
    loop {
        let answer = running.call(ask(&[("k", "a")]).hits(1_000).reserve("ns:tokens")).await;
        if answer.dynamic_metadata.is_none() {
            break;
        }
        passed += 1;
        // The next request is there before the log of this one.
        let (sender, log) = (sender.clone(), log(&answer, 9));
        tokio::spawn(async move { sender.send(log).await });
    }
    assert_eq!(passed, 12);
    running.until(108, 0).await;
    // Nobody waits for nothing: everything is spent, and not only held.
    let limiter = Arc::clone(&running.limiter);
    let patient =
        async move { limiter.decide_patiently(&request(&[ask(&[("k", "a")]).reserve("x:y")]), ratelimit::now).await };
    let answer = tokio::time::timeout(Duration::from_millis(90), patient).await.unwrap().unwrap();
    assert!(brief(&answer).starts_with("OVER"));
    running.stop().await;
    drop(stream);
}
