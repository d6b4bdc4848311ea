//! The server at its socket: limits against hostile clients, TLS, access, readiness, draining.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use xds_api::envoy::config::core::v3::Node;
use xds_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use xds_api::{Resource, ResourceType};
use xds_server::{Access, Change, GroupKey, Server, ServerOptions, Snapshots, Tls, TlsFiles};

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CDS: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";

struct Served {
    snapshots: Snapshots,
    server: Server,
    address: SocketAddr,
    end: watch::Sender<bool>,
}

async fn serve(options: ServerOptions) -> Served {
    let snapshots = Snapshots::new();
    let body = Bytes::from_static(b"one");
    let set = vec![Resource { kind: ResourceType::Cluster, name: "a".into(), body }];
    snapshots.publish(&GroupKey::new("default/web"), Change { set, remove: Vec::new() });
    snapshots.mark_ready();
    let server = Server::new(snapshots.clone(), options);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, mut ended) = watch::channel(false);
    let serving = server.clone();
    tokio::spawn(async move {
        serving.serve(listener, async move { drop(ended.wait_for(|end| *end).await) }).await;
    });
    Served { snapshots, server, address, end }
}

/// One stream of a client that can send any bytes.
struct Raw {
    send: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    received: Vec<u8>,
    head: HeaderMap,
}

type Frames = Pin<Box<dyn tokio_stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync>>;
type Sender = hyper::client::conn::http2::SendRequest<StreamBody<Frames>>;

async fn connect(address: SocketAddr) -> Sender {
    over(TcpStream::connect(address).await.unwrap()).await
}

async fn over(io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn call(sender: &mut Sender, path: &str) -> Raw {
    let (send, receive) = mpsc::unbounded_channel();
    let frames: Frames = Box::pin(UnboundedReceiverStream::new(receive).map(|bytes| Ok(Frame::data(bytes))));
    let request = Request::post(format!("http://xds{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(frames))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Raw { send, body, received: Vec::new(), head: head.headers }
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
    frame.extend(encoded);
    Bytes::from(frame)
}

fn hello(gateway: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "n".into(), cluster: gateway.into(), ..Node::default() }),
        type_url: ResourceType::Cluster.type_url().into(),
        ..Default::default()
    }
}

impl Raw {
    fn say(&self, message: &impl Message) {
        self.send.send(framed(message)).unwrap();
    }

    /// The next response, or the status that the stream ended with.
    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, u16> {
        let code = |headers: &HeaderMap| headers.get("grpc-status").map(|code| code.to_str().unwrap().parse().unwrap());
        if let Some(code) = code(&self.head) {
            return Err(code);
        }
        loop {
            if let Some(length) = self.received.get(1..5) {
                let end = 5 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.received.len() >= end {
                    let message = DeltaDiscoveryResponse::decode(&self.received[5..end]).unwrap();
                    self.received.drain(..end);
                    return Ok(message);
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await;
            match frame.expect("an answer in time") {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.received.extend_from_slice(&data),
                    Err(frame) => return Err(frame.trailers_ref().and_then(code).unwrap()),
                },
                _ => return Err(u16::MAX),
            }
        }
    }
}

async fn ends_with(served: &Served, path: &str, message: Bytes) -> u16 {
    let mut stream = call(&mut connect(served.address).await, path).await;
    // A refused call does not even listen.
    drop(stream.send.send(message));
    stream.next().await.expect_err("no answer")
}

#[tokio::test]
async fn statuses_of_bad_beginnings() {
    let served = serve(ServerOptions { max_first_message_bytes: 1000, ..Default::default() }).await;
    let nobody = DeltaDiscoveryRequest { node: None, ..hello("") };
    assert_eq!(ends_with(&served, ADS, framed(&nobody)).await, 3, "p5: no node");
    let other = DeltaDiscoveryRequest { type_url: ResourceType::Listener.type_url().into(), ..hello("default/web") };
    assert_eq!(ends_with(&served, CDS, framed(&other)).await, 3, "p3: another type");
    let large = DeltaDiscoveryRequest { response_nonce: "x".repeat(2000), ..hello("default/web") };
    assert_eq!(ends_with(&served, ADS, framed(&large)).await, 8, "too large for a stranger");
    let huge = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(ends_with(&served, ADS, huge).await, 8, "refused before it is read");
    assert_eq!(ends_with(&served, ADS, Bytes::from_static(&[1, 0, 0, 0, 0])).await, 3, "compressed");
    assert_eq!(ends_with(&served, ADS, Bytes::from_static(&[0, 0, 0, 0, 1, 0xff])).await, 3, "no message at all");
    assert_eq!(ends_with(&served, "/of.another/Service", Bytes::new()).await, 12);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let served = serve(ServerOptions { patience: Duration::from_millis(50), ..Default::default() }).await;
    let mut silent = call(&mut connect(served.address).await, ADS).await;
    assert_eq!(silent.next().await, Err(3));
}

#[tokio::test]
async fn streams_and_names_have_limits() {
    let options = ServerOptions { max_streams: 1, max_names: 2, max_message_bytes: 500, ..Default::default() };
    let served = serve(options).await;
    let mut connection = connect(served.address).await;
    let mut one = call(&mut connection, ADS).await;
    one.say(&hello("default/web"));
    one.next().await.unwrap();
    let mut two = call(&mut connection, ADS).await;
    assert_eq!(two.next().await, Err(8), "one stream is served");
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    one.say(&DeltaDiscoveryRequest { resource_names_subscribe: names, ..hello("default/web") });
    assert_eq!(one.next().await, Err(8), "and two names");
    // Its place is free again.
    let mut three = call(&mut connection, ADS).await;
    three.say(&hello("default/web"));
    three.next().await.unwrap();
    three.say(&DeltaDiscoveryRequest { response_nonce: "x".repeat(1000), ..hello("default/web") });
    assert_eq!(three.next().await, Err(8));
}

#[tokio::test]
async fn g7_nobody_is_answered_before_the_first_full_load() {
    let snapshots = Snapshots::new();
    let server = Server::new(snapshots.clone(), ServerOptions::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server.serve(listener, std::future::pending()));
    let mut connection = connect(address).await;
    let mut early = call(&mut connection, ADS).await;
    early.say(&hello("default/web"));
    assert_eq!(early.next().await, Err(14));
    snapshots.mark_ready();
    let mut ready = call(&mut connection, ADS).await;
    ready.say(&hello("default/web"));
    assert!(ready.next().await.unwrap().resources.is_empty());
}

#[tokio::test]
async fn streams_are_told_to_go_elsewhere() {
    let served = serve(ServerOptions::default()).await;
    let mut stream = call(&mut connect(served.address).await, ADS).await;
    stream.say(&hello("default/web"));
    stream.next().await.unwrap();
    assert_eq!(served.server.fleet().clients().len(), 1);
    served.end.send_replace(true);
    assert_eq!(stream.next().await, Err(14));
    let aged = serve(ServerOptions { max_stream_age: Duration::from_millis(200), ..Default::default() }).await;
    let mut stream = call(&mut connect(aged.address).await, ADS).await;
    stream.say(&hello("default/web"));
    let end = loop {
        if let Err(code) = stream.next().await {
            break code;
        }
    };
    assert_eq!(end, 14, "g4");
}

#[tokio::test]
async fn g10_changes_reach_a_stream_that_waits() {
    let served = serve(ServerOptions::default()).await;
    let mut stream = call(&mut connect(served.address).await, CDS).await;
    stream.say(&DeltaDiscoveryRequest { type_url: String::new(), ..hello("default/web") });
    let first = stream.next().await.unwrap();
    assert_eq!(first.control_plane.unwrap().identifier, "chancery", "g9");
    stream.say(&DeltaDiscoveryRequest { response_nonce: first.nonce, ..Default::default() });
    let set = vec![Resource { kind: ResourceType::Cluster, name: "b".into(), body: Bytes::from_static(b"two") }];
    served.snapshots.publish(&GroupKey::new("default/web"), Change { set, remove: Vec::new() });
    let second = stream.next().await.unwrap();
    assert_eq!(second.resources.len(), 1);
    assert_eq!(second.resources[0].name, "b");
}

/// An authority that signs certificates.
struct Authority {
    certificate: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    async fn client(&self, address: SocketAddr, identity: Option<&str>) -> Result<(Sender, Vec<u8>), std::io::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.sign(name);
                let certificate = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = rustls::pki_types::ServerName::try_from("xds.example.com").unwrap();
        let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Ok((over(stream).await, shown))
    }
}

fn write_pair(directory: &Path, pair: &(String, String)) {
    std::fs::write(directory.join("tls.crt"), &pair.0).unwrap();
    std::fs::write(directory.join("tls.key"), &pair.1).unwrap();
}

#[tokio::test]
async fn mutual_tls_identities_and_reload() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    write_pair(directory.path(), &authority.sign("xds.example.com"));
    std::fs::write(directory.path().join("ca.crt"), &authority.certificate).unwrap();
    let tls = Tls::load(TlsFiles {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        client_ca: Some(directory.path().join("ca.crt")),
    })
    .unwrap();
    let access = Access::new(vec!["*.web.example.com=default/*".parse().unwrap()]);
    let served = serve(ServerOptions { tls: Some(tls), access, ..Default::default() }).await;

    let (mut sender, shown) = authority.client(served.address, Some("a.web.example.com")).await.unwrap();
    let mut allowed = call(&mut sender, ADS).await;
    allowed.say(&hello("default/web"));
    assert_eq!(allowed.next().await.unwrap().resources.len(), 1);
    let mut elsewhere = call(&mut sender, ADS).await;
    elsewhere.say(&hello("other/web"));
    assert_eq!(elsewhere.next().await, Err(7));
    let (mut stranger, _) = authority.client(served.address, Some("b.example.com")).await.unwrap();
    let mut stranger = call(&mut stranger, ADS).await;
    stranger.say(&hello("default/web"));
    assert_eq!(stranger.next().await, Err(7));

    // A new certificate is taken in while the port is open; a half-written one is not.
    std::fs::write(directory.path().join("tls.crt"), "nonsense").unwrap();
    write_pair(directory.path(), &authority.sign("xds.example.com"));
    let changed = || async {
        let (_, now) = authority.client(served.address, Some("a.web.example.com")).await.ok()?;
        (now != shown).then_some(())
    };
    testkit::eventually("the new certificate is shown", Duration::from_secs(10), changed).await;
    assert!(!allowed.send.is_closed(), "open streams stay");
}
