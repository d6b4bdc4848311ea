//! Bare HTTP/2 streams that behave like Envoys.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use xds_api::ResourceType;
use xds_api::envoy::config::core::v3::Node;
use xds_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest};
use xds_api::google::rpc::Status;

use crate::Result;

const SERVICE: &str = "http://xds/envoy.service.discovery.v3.AggregatedDiscoveryService";
pub(crate) const GATEWAY: &str = "default/web";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Delta,
    Sotw,
}

/// What a client makes of what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Acknowledges,
    Rejects,
    /// Takes the first message, and then reads nothing any more.
    Stalls,
}

/// Names and versions by type.
pub(crate) type Known = BTreeMap<&'static str, BTreeMap<String, String>>;

/// What a client asks for first.
#[derive(Clone)]
pub(crate) struct Asks {
    pub variant: Variant,
    pub conduct: Conduct,
    /// Types with their names; none is everything.
    pub wants: Arc<Vec<(ResourceType, Vec<String>)>>,
    pub known: Arc<Known>,
    /// Where to write down what is learnt.
    pub learns: Option<Arc<Mutex<Known>>>,
}

/// What clients have seen, all together.
#[derive(Default)]
pub(crate) struct Seen {
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
    /// Messages to those that reject.
    pub rejected: AtomicU64,
}

#[derive(Clone)]
pub(crate) struct Reports {
    pub seen: Arc<Seen>,
    pub acks: mpsc::UnboundedSender<Instant>,
    /// Places for those that connect.
    pub connecting: Arc<Semaphore>,
}

#[derive(Clone, PartialEq, Message)]
struct LeanResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::zeroed(5);
    frame.extend_from_slice(&message.encode_to_vec());
    let length = u32::try_from(frame.len() - 5).unwrap_or_default();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

fn node() -> Option<Node> {
    Some(Node { id: "n".into(), cluster: GATEWAY.into(), ..Node::default() })
}

fn first(asks: &Asks, kind: ResourceType, names: &[String]) -> Bytes {
    let type_url = kind.type_url().to_owned();
    match asks.variant {
        Variant::Delta => framed(&DeltaDiscoveryRequest {
            node: node(),
            resource_names_subscribe: names.to_vec(),
            initial_resource_versions: asks.known.get(kind.type_url()).cloned().unwrap_or_default(),
            type_url,
            ..Default::default()
        }),
        Variant::Sotw => {
            let resource_names = names.to_vec();
            framed(&DiscoveryRequest { node: node(), resource_names, type_url, ..Default::default() })
        }
    }
}

fn reply(asks: &Asks, response: &LeanResponse) -> Bytes {
    let words = || Status { code: 13, message: "rejected by the benchmark".into(), ..Default::default() };
    let error_detail = (asks.conduct == Conduct::Rejects).then(words);
    let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
    match asks.variant {
        Variant::Delta => {
            framed(&DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() })
        }
        Variant::Sotw => {
            let wanted = asks.wants.iter().find(|(kind, _)| kind.type_url() == type_url);
            let resource_names = wanted.map(|(_, names)| names.clone()).unwrap_or_default();
            // A client that rejects tells the version it had before: none.
            let version_info = if error_detail.is_some() { String::new() } else { response.version.clone() };
            let request = DiscoveryRequest {
                type_url,
                response_nonce,
                error_detail,
                resource_names,
                version_info,
                ..Default::default()
            };
            framed(&request)
        }
    }
}

pub(crate) async fn run(address: SocketAddr, asks: Asks, reports: Reports) -> Result<()> {
    let place = reports.connecting.acquire().await?;
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let window = if asks.conduct == Conduct::Stalls { 64 << 10 } else { 1 << 30 };
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .handshake(TokioIo::new(socket))
        .await?;
    tokio::spawn(connection);
    let (say, said) = mpsc::unbounded_channel::<Bytes>();
    let body = StreamBody::new(UnboundedReceiverStream::new(said).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
    let method = if asks.variant == Variant::Delta { "DeltaAggregatedResources" } else { "StreamAggregatedResources" };
    let request = Request::post(format!("{SERVICE}/{method}")).header("content-type", "application/grpc").body(body)?;
    for (kind, names) in asks.wants.iter() {
        say.send(first(&asks, *kind, names))?;
    }
    let mut body = sender.send_request(request).await?.into_body();
    drop(place);
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { break };
        reports.seen.bytes.fetch_add(data.len() as u64, Relaxed);
        received.extend_from_slice(&data);
        while let Some(length) = received.get(1..5) {
            let end = 5 + u32::from_be_bytes(length.try_into()?) as usize;
            if received.len() < end {
                break;
            }
            let message = received.split_to(end).freeze().slice(5..);
            reports.seen.messages.fetch_add(1, Relaxed);
            if asks.conduct == Conduct::Rejects {
                reports.seen.rejected.fetch_add(1, Relaxed);
            }
            learn(&asks, &message)?;
            let response = LeanResponse::decode(message)?;
            say.send(reply(&asks, &response))?;
            reports.acks.send(Instant::now())?;
            if asks.conduct == Conduct::Stalls {
                // The stream stays open, unread.
                std::future::pending::<()>().await;
            }
        }
        if received.is_empty() {
            received = BytesMut::new();
        }
    }
    Ok(())
}

fn learn(asks: &Asks, message: &Bytes) -> Result<()> {
    let Some(known) = &asks.learns else { return Ok(()) };
    let response = DeltaDiscoveryResponse::decode(message.clone())?;
    let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return Ok(()) };
    let mut known = known.lock().map_err(|_| "a client failed")?;
    let of_type = known.entry(kind.type_url()).or_default();
    of_type.extend(response.resources.into_iter().map(|resource| (resource.name, resource.version)));
    Ok(())
}
