//! How much a push to many Envoys costs: `cargo run --release -p xds-server --example bench_fanout -- [STREAMS] [ROUNDS]`.
//!
//! Servers run as child processes, so that their CPU and memory are theirs alone: ours, and the floor, which only writes one
//! shared frame to each stream and reads what comes back. Clients are bare HTTP/2 streams that acknowledge at once.

use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{UnboundedReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use xds_api::envoy::config::core::v3::Node;
use xds_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use xds_api::{Resource, ResourceType};
use xds_server::{Change, GroupKey, Server, ServerOptions, Snapshots};

const PATH: &str = "http://xds/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const NAME: &str = "pool";
const GATEWAY: &str = "default/web";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match first.as_deref() {
        Some("serve") => runtime.block_on(serve(true)),
        Some("floor") => runtime.block_on(serve(false)),
        streams => {
            let streams = streams.map_or(Ok(1000), str::parse)?;
            let rounds = args.next().map_or(Ok(10), |rounds| rounds.parse())?;
            runtime.block_on(measure(streams, rounds))
        }
    }
}

/// One line of the table.
struct Row {
    idle_kib: f64,
    push_us: f64,
    last_ack: Duration,
    big_us: f64,
    after_kib: f64,
}

async fn measure(streams: usize, rounds: usize) -> Result<()> {
    let ours = run("serve", streams, rounds).await?;
    let floor = run("floor", streams, rounds).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{streams} streams, {rounds} rounds; CPU is the server's, user and system")?;
    writeln!(out, "{:<34} {:>10} {:>10} {:>7}", "", "ours", "floor", "ratio")?;
    let mut line = |what: &str, ours: f64, floor: f64| {
        writeln!(out, "{what:<34} {ours:>10.1} {floor:>10.1} {:>7.2}", ours / floor)
    };
    line("RSS a stream, idle, KiB", ours.idle_kib, floor.idle_kib)?;
    line("1 KiB push and ack, CPU us", ours.push_us, floor.push_us)?;
    line("time to the last ack, ms", ours.last_ack.as_secs_f64() * 1e3, floor.last_ack.as_secs_f64() * 1e3)?;
    line("1 MiB push and ack, CPU us", ours.big_us, floor.big_us)?;
    line("RSS a stream after it, KiB", ours.after_kib, floor.after_kib)?;
    Ok(())
}

async fn run(what: &str, streams: usize, rounds: usize) -> Result<Row> {
    let mut server = Served::start(what)?;
    let empty = server.rss_kib()?;
    let (acks, mut acked) = mpsc::unbounded_channel();
    for _ in 0..streams {
        tokio::spawn(client(server.address, acks.clone()));
    }
    wait(&mut acked, streams).await?;
    let per_stream = |kib: f64| (kib - empty) / streams as f64;
    let idle_kib = per_stream(server.rss_kib()?);
    let mut times = Vec::new();
    let before = server.cpu()?;
    for _ in 0..rounds {
        let begin = Instant::now();
        server.say("1024")?;
        wait(&mut acked, streams).await?;
        times.push(begin.elapsed());
    }
    let push_us = (server.cpu()? - before).as_secs_f64() * 1e6 / (streams * rounds) as f64;
    times.sort_unstable();
    let before = server.cpu()?;
    server.say("1048576")?;
    wait(&mut acked, streams).await?;
    let big_us = (server.cpu()? - before).as_secs_f64() * 1e6 / streams as f64;
    let after_kib = per_stream(server.rss_kib()?);
    Ok(Row { idle_kib, push_us, last_ack: times[times.len() / 2], big_us, after_kib })
}

async fn wait(acked: &mut mpsc::UnboundedReceiver<()>, count: usize) -> Result<()> {
    for _ in 0..count {
        let ack = tokio::time::timeout(Duration::from_secs(60), acked.recv()).await?;
        ack.ok_or("the clients are gone")?;
    }
    Ok(())
}

/// A server in a process of its own.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(what: &str) -> Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.child.stdin.as_mut().ok_or("no input")?, "{line}")?)
    }

    fn rss_kib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// In ticks of the kernel: a hundredth of a second.
    fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::zeroed(5);
    frame.extend_from_slice(&message.encode_to_vec());
    let length = u32::try_from(frame.len() - 5).unwrap_or_default();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

#[derive(Clone, PartialEq, Message)]
struct LeanResponse {
    #[prost(string, tag = "5")]
    nonce: String,
}

async fn client(address: SocketAddr, acks: mpsc::UnboundedSender<()>) -> Result<()> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake(TokioIo::new(socket))
        .await?;
    tokio::spawn(connection);
    let (say, said) = mpsc::unbounded_channel::<Bytes>();
    let body = StreamBody::new(UnboundedReceiverStream::new(said).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
    let request = Request::post(PATH).header("content-type", "application/grpc").body(body)?;
    let type_url = ResourceType::Endpoints.type_url().to_owned();
    say.send(framed(&DeltaDiscoveryRequest {
        node: Some(Node { id: "n".into(), cluster: GATEWAY.into(), ..Node::default() }),
        type_url: type_url.clone(),
        resource_names_subscribe: vec![NAME.into()],
        ..Default::default()
    }))?;
    let mut body = sender.send_request(request).await?.into_body();
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { break };
        received.extend_from_slice(&data);
        while let Some(length) = received.get(1..5) {
            let end = 5 + u32::from_be_bytes(length.try_into()?) as usize;
            if received.len() < end {
                break;
            }
            let message = received.split_to(end).freeze().slice(5..);
            let response_nonce = LeanResponse::decode(message)?.nonce;
            say.send(framed(&DeltaDiscoveryRequest {
                type_url: type_url.clone(),
                response_nonce,
                ..Default::default()
            }))?;
            acks.send(())?;
        }
    }
    Ok(())
}

/// Serves, says where, and pushes a resource of as many bytes as each line of its input says.
async fn serve(ours: bool) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let (sizes, mut wanted) = mpsc::unbounded_channel::<usize>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
            drop(line.parse().map(|size| sizes.send(size)));
        }
    });
    let mut round = 0_u8;
    let mut resource = move |size: usize| {
        round = round.wrapping_add(1);
        Resource { kind: ResourceType::Endpoints, name: NAME.into(), body: Bytes::from(vec![round; size]) }
    };
    if ours {
        let snapshots = Snapshots::new();
        let group = GroupKey::new(GATEWAY);
        snapshots.publish(&group, Change { set: vec![resource(1024)], remove: Vec::new() });
        snapshots.mark_ready();
        tokio::spawn(Server::new(snapshots.clone(), ServerOptions::default()).serve(listener, std::future::pending()));
        while let Some(size) = wanted.recv().await {
            snapshots.publish(&group, Change { set: vec![resource(size)], remove: Vec::new() });
        }
        return Ok(());
    }
    let frame_of = |resource: Resource| {
        framed(&xds_api::envoy::service::discovery::v3::DeltaDiscoveryResponse {
            type_url: resource.kind.type_url().into(),
            nonce: "1".into(),
            system_version_info: String::from_utf8_lossy(&resource.body[..0]).into_owned(),
            resources: vec![xds_api::envoy::service::discovery::v3::Resource {
                name: NAME.into(),
                resource: Some(xds_api::google::protobuf::Any {
                    type_url: resource.kind.type_url().into(),
                    value: resource.body,
                }),
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    let (frames, newest) = watch::channel(frame_of(resource(1024)));
    tokio::spawn(floor(listener, newest));
    while let Some(size) = wanted.recv().await {
        frames.send_replace(frame_of(resource(size)));
    }
    Ok(())
}

/// As little as a server can do.
async fn floor(listener: TcpListener, newest: watch::Receiver<Bytes>) {
    while let Ok((socket, _)) = listener.accept().await {
        drop(socket.set_nodelay(true));
        let newest = newest.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let body = Floor { incoming: request.into_body(), frames: WatchStream::new(newest.clone()) };
            async move { Response::builder().header("content-type", "application/grpc").body(body) }
        });
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service),
        );
    }
}

struct Floor {
    incoming: Incoming,
    frames: WatchStream<Bytes>,
}

impl http_body::Body for Floor {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        Pin::new(&mut self.frames).poll_next(cx).map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }
}
