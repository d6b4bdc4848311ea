//! What a request to a model costs an Envoy over plain proxying: routed by its body, with its tokens counted, and limited; by our
//! filters, and by an external processor that does the same. `make bench-request`.
//!
//! CPU is that of the Envoy under test and of its processor, as the kernel counts it; the rate limit service stands apart.
//! All that is compared takes turns, round by round, and what counts is the middle of the rounds: whatever else a machine
//! does then meets all of them. An argument chooses loads by their names.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program for people, which fails where it panics"
)]

mod bootstraps;
mod processor;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use inference_sim::{Options, Simulator};
use serde_json::{Value, json};
use testkit::{Chancery, Envoy, HttpClient, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_millis(500);

const WORKS: [(&str, Work); 3] = [("route", Work::Route), ("and cost", Work::Cost), ("and a limit", Work::Limit)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Ours(Work),
    Processor(Work),
}

/// How much is done for a request; each includes what stands before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Work {
    Route,
    Cost,
    Limit,
}

/// What is sent, and how the server answers it.
struct Load {
    name: &'static str,
    body: String,
    /// Between the events of a stream; none for servers that send all at once.
    pace: Option<Duration>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_default();
    if wanted == "processor" {
        return processor::serve(args.next().unwrap().parse()?).await;
    }
    let chancery = std::env::var("CHANCERY_BIN").unwrap_or_else(|_| "target/release/chancery".to_owned());
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    println!("us of CPU a request that Envoy and its helper need over plain proxying, {CONNECTIONS} connections");
    println!("{:<36} {:>8} {:>18} {:>8} {:>8}", "", "plain", "processor", "ours", "ratio");
    for load in loads().into_iter().filter(|load| load.name.contains(&wanted)) {
        let each = WORKS.iter().flat_map(|(_, work)| [Way::Processor(*work), Way::Ours(*work)]);
        let ways: Vec<Way> = std::iter::once(Way::Plain).chain(each).collect();
        let mut running = Vec::new();
        for way in &ways {
            running.push(Running::start(&chancery, &load, *way).await?);
        }
        let mut used: Vec<[Vec<f64>; 2]> = vec![<[Vec<f64>; 2]>::default(); running.len()];
        for _ in 0..rounds {
            for ((one, used), way) in running.iter_mut().zip(&mut used).zip(&ways) {
                match one.round(&load.body).await {
                    Ok(round) => used.iter_mut().zip(round).for_each(|(all, one)| all.push(one)),
                    // Envoy 1.40 may crash where an external processor stands before a server and bodies are large.
                    Err(error) if matches!(way, Way::Processor(_)) => {
                        eprintln!("{}: {error}: started again", load.name);
                        *one = Running::start(&chancery, &load, *way).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let used: Vec<[f64; 2]> = used.into_iter().map(|each| each.map(middle)).collect();
        let [plain, _] = used[0];
        for ((words, _), pair) in WORKS.iter().zip(used[1..].chunks(2)) {
            let ([envoy, helper], ours) = (pair[0], pair[1][0] - plain);
            let (theirs, both) = (envoy - plain + helper, format!("{:.0} + {helper:.0}", envoy - plain));
            let name = format!("{}, {words}", load.name);
            println!("{name:<36} {plain:>8.0} {both:>18} {ours:>8.0} {:>8.1}", theirs / ours);
        }
    }
    Ok(())
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn loads() -> Vec<Load> {
    let chat = |bytes: usize, stream: bool| {
        let prompt = "words and \"quotes\", ".repeat(bytes / 20 + 1);
        let content = prompt.get(..bytes).unwrap_or_default();
        json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": content}]}).to_string()
    };
    let stream = |name, pace| Load { name, body: chat(300, true), pace: Some(pace) };
    let whole = |name, bytes| Load { name, body: chat(bytes, false), pace: None };
    vec![
        whole("400 B", 300),
        whole("16 KB", 16 << 10),
        whole("200 KB", 200 << 10),
        stream("200 events 5 ms apart", Duration::from_millis(5)),
        stream("200 events at once", Duration::ZERO),
    ]
}

/// An Envoy under test, with what it needs.
struct Running {
    port: u16,
    envoy: Envoy,
    helper: Option<Helper>,
    _control: Option<Chancery>,
    _server: Simulator,
}

impl Running {
    async fn start(chancery: &str, load: &Load, way: Way) -> anyhow::Result<Self> {
        let options = Options {
            completion_tokens: if load.pace.is_some() { 200 } else { 20 },
            pace: load.pace.unwrap_or_default(),
            max_running: 10_000,
            max_model_len: 1 << 20,
            ..Options::new("sim", "m")
        };
        let server = Simulator::start(options).await?;
        let (port, stub) = (free_port(), free_port());
        let mut helper = None;
        let mut control = None;
        let bootstrap = match way {
            Way::Plain => bootstraps::plain(port, server.port()),
            Way::Processor(work) => {
                helper = Some(Helper::start(stub)?);
                let manifests = bootstraps::manifests(free_port(), server.port(), Work::Limit);
                let counting = Chancery::start(chancery, &[("all.yaml", &manifests)]).await?;
                let limits = (work == Work::Limit).then_some(counting.ratelimit);
                control = Some(counting);
                bootstraps::processed(port, server.port(), stub, work, limits)
            }
            Way::Ours(work) => {
                let manifests = bootstraps::manifests(port, server.port(), work);
                let serving = Chancery::start(chancery, &[("all.yaml", &manifests)]).await?;
                let bootstrap = serving.bootstrap("default/ai", &[]).await?;
                control = Some(serving);
                bootstrap
            }
        };
        let envoy = Envoy::start(&bootstrap).await?;
        let body: Value = serde_json::from_str(&load.body)?;
        eventually("the model is served", Duration::from_secs(30), || async {
            let client = HttpClient::new(port).header("x-user-id", "bench");
            let reply = client.post_json("/v1/chat/completions", &body).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        let running = Self { port, envoy, helper, _control: control, _server: server };
        // To warm up.
        running.round(&load.body).await.ok();
        Ok(running)
    }

    /// CPU of one request in Envoy and in its helper, in microseconds.
    async fn round(&self, body: &str) -> anyhow::Result<[f64; 2]> {
        let pids = [self.envoy.pid(), self.helper.as_ref().map(|helper| helper.0.id())];
        let used = || pids.map(|pid| pid.map_or(0.0, cpu));
        let before = used();
        let requests = run(self.port, body, ROUND).await?;
        let after = used();
        anyhow::ensure!(requests > 0, "no request was answered");
        Ok([0, 1].map(|at| (after[at] - before[at]) / requests as f64))
    }
}

/// The processor in a process of its own, so that its CPU is counted.
struct Helper(Child);

impl Helper {
    fn start(port: u16) -> anyhow::Result<Self> {
        let itself = std::env::current_exe()?;
        let child = Command::new(itself).args(["processor", &port.to_string()]).stdout(Stdio::null()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Microseconds of CPU that a process has used.
fn cpu(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.filter_map(of_task).sum::<f64>() / 1e3
}

/// Keeps connections busy for a time. How many requests were answered.
async fn run(port: u16, body: &str, time: Duration) -> anyhow::Result<usize> {
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nx-user-id: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: std::sync::Arc<[u8]> = request.into_bytes().into();
    let end = Instant::now() + time;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
                socket.set_nodelay(true)?;
                let (mut answered, mut buffer) = (0, Vec::with_capacity(64 << 10));
                while Instant::now() < end {
                    socket.write_all(&request).await?;
                    answer(&mut socket, &mut buffer).await?;
                    answered += 1;
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut all = 0;
    for client in clients {
        all += client.await??;
    }
    Ok(all)
}

/// Reads one answer to its end: by its length, or by its last chunk.
async fn answer(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    let mut chunk = vec![0; 32 << 10];
    loop {
        let read = socket.read(&mut chunk).await?;
        anyhow::ensure!(read > 0, "the connection ended after {} bytes", buffer.len());
        buffer.extend_from_slice(&chunk[..read]);
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        anyhow::ensure!(text.starts_with("http/1.1 200"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        match length {
            Some(length) if buffer.len() >= head + 4 + length => return Ok(()),
            None if buffer.ends_with(b"0\r\n\r\n") => return Ok(()),
            _ => {}
        }
    }
}
