//! `make bench-hosts`: what one changed route among thousands of hostnames costs an Envoy and its requests, in the layout
//! that is served and in the usual one, a single table; and how long an edit in a directory takes until it is served.
//!
//! The translation and the server run in this process, so that the moment of a push is known.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which fails where it panics")]

mod edits;
mod layouts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use layouts::{Layout, World};
use prometheus_client::registry::Registry;
use testkit::{Echo, Envoy, HttpClient, eventually, free_port};
use xds_server::{Change, GroupKey, Metrics, Server, ServerOptions, Snapshots};

const CHANGES: usize = 12;
/// Requests that are always on their way.
const IN_FLIGHT: usize = 4;
/// Targets: what one change may send, how long it may take, in bytes and milliseconds.
const TARGETS: (u64, f64) = (16 << 10, 10.0);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let hosts = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    println!("{hosts} hostnames, a route each; medians of {CHANGES} changes of one route");
    let row = |what: &str, [bytes, effect, ack, stall]: [String; 4]| {
        println!("{what:<34} {bytes:>12} {effect:>16} {ack:>14} {stall:>22}");
    };
    row("", ["bytes sent", "push to effect", "push to ack", "longest request"].map(str::to_owned));
    for protocol in ["DELTA_GRPC", "GRPC"] {
        for layout in [Layout::Served, Layout::OneTable] {
            let Measured { bytes, effect, ack, stall, quiet } = measure(layout, hosts, protocol).await?;
            let name = format!("{}, {}", layout.title(), if protocol == "GRPC" { "SotW" } else { "Delta" });
            let stall = format!("{stall:.1} ms (quiet {quiet:.1})");
            row(&name, [bytes.to_string(), format!("{effect:.1} ms"), format!("{ack:.1} ms"), stall]);
            if layout == Layout::Served && (bytes > TARGETS.0 || effect > TARGETS.1) {
                println!("  over the target of {} bytes and {} ms", TARGETS.0, TARGETS.1);
            }
        }
    }
    edits::measure(1000).await
}

struct Measured {
    bytes: u64,
    effect: f64,
    ack: f64,
    stall: f64,
    quiet: f64,
}

async fn measure(layout: Layout, hosts: usize, protocol: &str) -> anyhow::Result<Measured> {
    let echo = Echo::start("app").await?;
    let port = free_port();
    let mut world = World::new(layout, hosts, port, echo.port);
    let snapshots = Snapshots::new();
    let group = GroupKey::new("default/web");
    snapshots.publish(&group, Change { set: world.resources(), remove: Vec::new() });
    snapshots.mark_ready();
    let listener = xds_server::listen(([127, 0, 0, 1], 0).into())?;
    let xds = listener.local_addr()?.port();
    let server = Server::new(snapshots.clone(), ServerOptions::default());
    let (metrics, fleet) = (server.metrics(), server.fleet());
    let serving = tokio::spawn(server.serve(listener, std::future::pending()));
    let _envoy = Envoy::start(&layouts::bootstrap(xds, protocol)).await?;
    let edited = hosts / 2;
    let host = HttpClient::new(port).host(&layouts::host(edited));
    let served = |mark: String| {
        let host = &host;
        async move {
            let mut connection = host.connect().await.unwrap();
            let begin = Instant::now();
            loop {
                let reply = connection.get("/").await.unwrap();
                if reply.header("x-edit") == Some(mark.as_str()) {
                    return Instant::now();
                }
                assert!(begin.elapsed() < Duration::from_secs(60), "{mark} is not served: {}", reply.status);
            }
        }
    };
    let first = || async { host.get("/").await.ok().filter(|reply| reply.status == 200) };
    eventually("routes are there", Duration::from_secs(60), first).await;
    let settled = || async { (fleet.in_step(&group) == Some(true)).then_some(()) };

    let traffic = Traffic::start(port, hosts);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let quiet = traffic.longest();
    let (mut bytes, mut effects, mut acks, mut stalls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in 0..CHANGES {
        eventually("in step", Duration::from_secs(60), settled).await;
        let mark = format!("edit-{change}");
        let resources = world.edit(edited, &mark);
        let sent = pushed(&metrics);
        traffic.longest();
        let begin = Instant::now();
        snapshots.publish(&group, Change { set: resources, remove: Vec::new() });
        effects.push((served(mark).await - begin).as_secs_f64() * 1e3);
        eventually("acknowledged", Duration::from_secs(60), settled).await;
        acks.push(begin.elapsed().as_secs_f64() * 1e3);
        // What Envoy throws away afterwards may hold up requests too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stalls.push(traffic.longest());
        bytes.push(pushed(&metrics) - sent);
    }
    bytes.sort_unstable();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    serving.abort();
    let measured = Measured {
        bytes: bytes[CHANGES / 2],
        effect: median(effects),
        ack: median(acks),
        stall: median(stalls),
        quiet,
    };
    Ok(measured)
}

/// Bytes of all responses so far.
fn pushed(metrics: &Metrics) -> u64 {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("xds_push_bytes_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Requests to hosts that do not change.
struct Traffic {
    longest: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(port: u16, hosts: usize) -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let one = |n: usize| {
            let longest = longest.clone();
            let host = layouts::host(n * hosts / IN_FLIGHT / 2);
            tokio::spawn(async move {
                let mut connection = HttpClient::new(port).host(&host).connect().await.unwrap();
                loop {
                    let begin = Instant::now();
                    let reply = connection.get("/").await.unwrap();
                    assert_eq!(reply.status, 200);
                    longest.fetch_max(u64::try_from(begin.elapsed().as_micros()).unwrap(), Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        let tasks = (0..IN_FLIGHT).map(one).collect();
        Self { longest, tasks }
    }

    /// In milliseconds, since it was asked last.
    fn longest(&self) -> f64 {
        assert!(self.tasks.iter().all(|task| !task.is_finished()), "a request failed");
        self.longest.swap(0, Relaxed) as f64 / 1e3
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
