//! What a call costs, beside the stock service with its Redis in the same run, and what ten million counters take.
//!
//! `cargo run --release -p ratelimit --example bench [core|grpc|pace|memory]...`; without a name, all of them.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/stock.rs"]
mod stock;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{ask, config, request};
use ratelimit::{Cost, METADATA_PREFIX, Options, RateLimiter};
use stock::{Client, Process, Stock};
use xds_api::envoy::service::ratelimit::v3::RateLimitRequest;

const LIMITS: &str = "{name: d, domain: d, descriptors: [
  {key: route, value: default/chat, descriptors: [
    {key: user, rate_limit: {unit: HOUR, requests_per_unit: 1000000}}]}]}";

fn user(number: u64) -> RateLimitRequest {
    request(&[ask(&[("route", "default/chat"), ("user", &format!("user-{number:07}"))])])
}

/// User and system time of a process so far.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn core() {
    let limiter = RateLimiter::new(&Options::default());
    limiter.apply(&[config(LIMITS)]);
    let requests: Vec<RateLimitRequest> = (0..10_000).map(user).collect();
    let now = ratelimit::now();
    let start = Instant::now();
    for _ in 0..100 {
        for request in &requests {
            limiter.decide(request, now).unwrap();
        }
    }
    println!("decision alone: {:.0} ns", start.elapsed().as_nanos() as f64 / 1e6);
    let mut reserving = request(&[ask(&[("route", "default/chat"), ("user", "one")]).hits(100).reserve("ns:tokens")]);
    let start = Instant::now();
    for number in 0..1_000_000_u64 {
        reserving.descriptors[0].entries[1].value.clear();
        reserving.descriptors[0].entries[1].value += if number % 2 == 0 { "one" } else { "two" };
        let answer = limiter.decide(&reserving, now).unwrap();
        let name = answer.dynamic_metadata.as_ref().and_then(|data| data.fields.keys().next());
        let id = name.and_then(|name| name.strip_prefix(METADATA_PREFIX)?.parse().ok()).unwrap();
        assert!(limiter.settle(id, now, |_| Cost::Is(1)));
    }
    println!("reservation and settlement: {:.0} ns", start.elapsed().as_nanos() as f64 / 1e6);
}

/// `clients` calls under way at any time over one connection, as Envoy makes them.
async fn load(client: &Client, clients: u64, calls: u64) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (mut client, next) = (client.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= calls {
                        return;
                    }
                    client.should_rate_limit(user(number * 7919 % 10_000)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}

/// This service in a process of its own, so that its CPU time can be told from the clients'.
async fn own() -> (Process, Client) {
    let port = stock::free_port();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["serve", &port.to_string()])
        .stdout(Stdio::inherit())
        .spawn();
    let process = Process(child.unwrap());
    let endpoint = tonic::transport::Endpoint::new(format!("http://127.0.0.1:{port}")).unwrap();
    loop {
        if let Ok(channel) = endpoint.connect().await {
            return (process, Client::new(channel));
        }
        tokio::task::yield_now().await;
    }
}

async fn grpc() {
    let (process, client) = own().await;
    let stock = Stock::start(vec![config(LIMITS)]).await;
    for clients in [1, 32] {
        let calls = if clients == 1 { 20_000 } else { 100_000 };
        load(&client, clients, 2_000).await;
        let before = cpu(process.0.id());
        let took = load(&client, clients, calls).await;
        let used = cpu(process.0.id()) - before;
        let rate = |used: Duration| calls as f64 / used.as_secs_f64();
        println!(
            "ours, {clients} at a time: {:.0} calls a CPU second, {:.0} calls a second",
            rate(used),
            calls as f64 / took.as_secs_f64()
        );
        let Some(stock) = &stock else { continue };
        load(&stock.client, clients, 2_000).await;
        let pids = [stock.service.0.id(), stock.redis.0.id()];
        let before: Duration = pids.iter().map(|pid| cpu(*pid)).sum();
        let took = load(&stock.client, clients, calls).await;
        let theirs = pids.iter().map(|pid| cpu(*pid)).sum::<Duration>() - before;
        println!(
            "stock and Redis, {clients} at a time: {:.0} calls a CPU second, {:.0} calls a second",
            rate(theirs),
            calls as f64 / took.as_secs_f64()
        );
        println!("  ratio {:.1}", theirs.as_secs_f64() / used.as_secs_f64());
    }
}

/// Latency at a steady ten thousand calls a second, one every 100 us: a thread of its own keeps the pace, finer than
/// the runtime's timer could.
async fn pace() {
    let (_process, client) = own().await;
    load(&client, 8, 2_000).await;
    let runtime = tokio::runtime::Handle::current();
    let pacer = std::thread::spawn(move || {
        let start = Instant::now();
        let call = |number: u32| {
            let due = start + Duration::from_micros(100) * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut client = client.clone();
            runtime.spawn(async move {
                let start = Instant::now();
                client.should_rate_limit(user(u64::from(number) % 10_000)).await.unwrap();
                start.elapsed()
            })
        };
        (0..50_000).map(call).collect::<Vec<_>>()
    });
    let mut latencies = Vec::new();
    for call in tokio::task::spawn_blocking(move || pacer.join().unwrap()).await.unwrap() {
        latencies.push(call.await.unwrap());
    }
    latencies.sort();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
    println!("10,000 calls a second: p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

fn memory() {
    let before = resident();
    let limiter = RateLimiter::new(&Options::default());
    limiter.apply(&[config(LIMITS)]);
    let start = Instant::now();
    let now = ratelimit::now();
    for number in 0..10_000_000 {
        limiter.decide(&user(number), now).unwrap();
    }
    let took = start.elapsed();
    println!("10,000,000 counters: {} MB, made in {took:.1?}", (resident() - before) / 1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counters");
    let start = Instant::now();
    limiter.save(&file, now).unwrap();
    println!("saved in {:.1?}, {} MB", start.elapsed(), file.metadata().unwrap().len() / 1_000_000);
}

async fn serve(port: &str) {
    let limiter = RateLimiter::new(&Options::default());
    limiter.apply(&[config(LIMITS)]);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    ratelimit::serve(limiter, listener, None, std::future::pending()).await.unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = if arguments.first().is_some_and(|first| first == "serve") { 1 } else { 2 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    if let [serving, port] = arguments.as_slice()
        && serving == "serve"
    {
        return runtime.block_on(serve(port));
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    if wanted("core") {
        core();
    }
    if wanted("grpc") {
        runtime.block_on(grpc());
    }
    if wanted("pace") {
        runtime.block_on(pace());
    }
    if wanted("memory") {
        memory();
    }
}
