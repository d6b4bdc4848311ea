//! Ours, and the floor: they print their address, then obey lines of their input, and say "ok" after each.
//!
//! `push N`: the endpoint set "pool" anew, of about N bytes; `names N`: N clusters, and an endpoint set for each; `gc`: nothing.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use xds_api::envoy::config::cluster::v3::{Cluster, cluster};
use xds_api::envoy::config::core::v3::{AggregatedConfigSource, ConfigSource, config_source};
use xds_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use xds_api::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use xds_api::{Resource, ResourceType, any};
use xds_server::{Change, GroupKey, Server, ServerOptions, Snapshots};

use crate::Result;
use crate::client::{GATEWAY, framed};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Floor,
}

const POOL: &str = "pool";

fn assignment(name: &str, hostname: String) -> ClusterLoadAssignment {
    let endpoint = Endpoint { hostname, ..Default::default() };
    let host =
        LbEndpoint { host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    let locality = LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() };
    ClusterLoadAssignment { cluster_name: name.into(), endpoints: vec![locality], ..Default::default() }
}

fn pool(round: u8, size: usize) -> ClusterLoadAssignment {
    assignment(POOL, String::from(char::from(b'a' + round % 26)).repeat(size))
}

fn names(count: usize) -> Vec<Resource> {
    let source = config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    let source = ConfigSource { config_source_specifier: Some(source), ..Default::default() };
    let of = |n: usize| {
        let name = format!("service/default/application-{n}/80");
        let eds = cluster::EdsClusterConfig { eds_config: Some(source.clone()), ..Default::default() };
        let cluster = Cluster { name: name.clone(), eds_cluster_config: Some(eds), ..Default::default() };
        let endpoints = assignment(&name, "127.0.0.1".into());
        [
            Resource::encode(ResourceType::Cluster, &name, &cluster),
            Resource::encode(ResourceType::Endpoints, &name, &endpoints),
        ]
    };
    (0..count).flat_map(of).collect()
}

pub(crate) async fn serve(kind: Kind) -> Result<()> {
    let listener = xds_server::listen(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?;
    let (lines, mut wanted) = mpsc::unbounded_channel::<String>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
            drop(lines.send(line));
        }
    });
    let snapshots = Snapshots::new();
    let group = GroupKey::new(GATEWAY);
    let (frames, newest) = watch::channel(frame(&pool(0, 1024)));
    let publish = |set: Vec<Resource>| snapshots.publish(&group, Change { set, remove: Vec::new() });
    if kind == Kind::Ours {
        publish(vec![Resource::encode(ResourceType::Endpoints, POOL, &pool(0, 1024))]);
        snapshots.mark_ready();
        tokio::spawn(Server::new(snapshots.clone(), ServerOptions::default()).serve(listener, std::future::pending()));
    } else {
        tokio::spawn(floor(listener, newest));
    }
    say(address)?;
    let mut round = 0_u8;
    while let Some(line) = wanted.recv().await {
        let (what, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number = number.parse().unwrap_or_default();
        match (what, kind) {
            ("push", kind) => {
                round = round.wrapping_add(1);
                let pool = pool(round, number);
                if kind == Kind::Ours {
                    publish(vec![Resource::encode(ResourceType::Endpoints, POOL, &pool)]);
                } else {
                    frames.send_replace(frame(&pool));
                }
            }
            ("names", Kind::Ours) => publish(names(number)),
            _ => {}
        }
        say("ok")?;
    }
    Ok(())
}

fn say(what: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{what}")?)
}

fn frame(pool: &ClusterLoadAssignment) -> Bytes {
    framed(&DeltaDiscoveryResponse {
        type_url: ResourceType::Endpoints.type_url().into(),
        nonce: "1".into(),
        resources: vec![xds_api::envoy::service::discovery::v3::Resource {
            name: POOL.into(),
            resource: Some(any(pool)),
            ..Default::default()
        }],
        ..Default::default()
    })
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
