//! Real parts for tests: a stock Envoy, upstreams, HTTP clients.
//!
//! Nothing here sleeps for a guessed time: what a test waits for is a condition, with a deadline ([`eventually`]).

pub mod bodies;
mod chancery;
mod client;
mod dns;
mod envoy;
mod kube_api;
pub mod model_gateway;
mod socket;
mod tls;
mod upstream;

use std::future::Future;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

pub use chancery::Chancery;
pub use client::{Connection, HttpClient, Reply, SseEvent, StreamingReply, Upgraded};
pub use dns::Dns;
pub use envoy::{Envoy, envoy_binary, validate};
pub use kube_api::KubeApi;
pub use model_gateway::ModelGateway;
pub use socket::{Refusing, TcpEcho, UdpEcho, ask_tcp, ask_udp};
pub use tls::{Authority, ClientTls, Leaf};
pub use upstream::Echo;

/// Ports that the system gives to nobody by itself, neither to connections nor to servers that ask for any.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A free port of 127.0.0.1, which no other test is given for a long time: all processes go through the ports together.
#[must_use]
pub fn free_port() -> u16 {
    let path = std::env::temp_dir().join("chancery-test-ports");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(false).read(true).write(true).open(path).expect("a file for ports");
    file.lock().expect("a lock");
    let mut last = String::new();
    let _ = file.read_to_string(&mut last);
    let mut port = last.trim().parse().unwrap_or(PORTS.start);
    loop {
        port = if PORTS.contains(&(port + 1)) { port + 1 } else { PORTS.start };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            file.rewind().expect("a file that can be written");
            write!(file, "{port:>5}").expect("a file that can be written");
            return port;
        }
    }
}

/// An address of this machine that no other test has, for servers whose ports a manifest says.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    // Whoever else asks meanwhile gets another port.
    let [high, low] = free_port().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 128, low, 64 + high / 128)
}

/// Asks again and again until the answer is there; fails with `what` when the deadline passes.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
