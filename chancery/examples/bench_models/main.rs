//! Many models behind one hostname: what they cost the Envoy that serves them. `make bench-models`, with how many as its argument.
//!
//! Bytes are those of the connection over which an Envoy follows the control plane, as they come to the Envoy, frames and all.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which fails where it panics")]

mod load;
mod relay;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::model_gateway::{backend, gateway, route, rule};
use testkit::{Chancery, Connection, Echo, Envoy, HttpClient, eventually, free_port};

use crate::load::Load;
use crate::relay::Relay;

const CHAT: &str = "/v1/chat/completions";
/// As many rules as a route may have.
const RULES: usize = 15;
const EDITS: usize = 20;

struct Bench {
    port: u16,
    models: usize,
    control: Chancery,
    relay: Relay,
    envoy: Envoy,
    server: Echo,
}

fn model(number: usize) -> String {
    format!("org-{}/model-{number}", number % 7)
}

/// One of the routes, with its models sent on under the names that `sent` gives them.
fn models(at: usize, count: usize, sent: &dyn Fn(usize) -> Option<String>) -> String {
    let rules = (at * RULES..count.min((at + 1) * RULES)).map(|number| {
        let name = sent(number).map_or(String::new(), |name| format!(", modelNameOverride: {name}"));
        rule(&model(number), &format!("[{{name: one{name}}}]"))
    });
    route(&rules.collect::<String>()).replace("name: models,", &format!("name: models-{at},"))
}

fn file(at: usize) -> String {
    format!("models-{at}.yaml")
}

impl Bench {
    async fn start(chancery: &str, count: usize) -> anyhow::Result<Self> {
        let server = Echo::start("one").await?;
        let port = free_port();
        let base = gateway(port) + &backend("one", server.port, "{name: OpenAI}", "");
        let mut files = vec![("base.yaml".to_owned(), base)];
        files.extend((0..count.div_ceil(RULES)).map(|at| (file(at), models(at, count, &|_| None))));
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let control = Chancery::start(chancery, &files).await?;
        let relay = Relay::start(control.xds).await?;
        let bootstrap = control.bootstrap("default/ai", &[]).await?;
        let through =
            bootstrap.replace(&format!("port_value: {}", control.xds), &format!("port_value: {}", relay.port));
        let begin = Instant::now();
        let envoy = Envoy::launch(&through)?;
        let last = json!({"model": model(count - 1)});
        eventually("the last model is served", Duration::from_secs(120), || async {
            let reply = HttpClient::new(port).post_json(CHAT, &last).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        let took = begin.elapsed();
        let (bytes, first) = relay.settled().await;
        let read = first.map_or(0, |first| begin.elapsed().saturating_sub(first.elapsed()).as_millis());
        println!(
            "{count:>6} models: an Envoy serves the last one {} ms after its start ({read} ms until it reads, {bytes} bytes)",
            took.as_millis()
        );
        Ok(Self { port, models: count, control, relay, envoy, server })
    }

    async fn ask(&self, connection: &mut Connection, number: usize) -> anyhow::Result<Value> {
        let reply = connection.post(CHAT, json!({"model": model(number)}).to_string()).await?;
        anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        Ok(reply.json())
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        HttpClient::new(self.port).header("content-type", "application/json").connect().await
    }

    /// Requests to one model over one connection: their median time, and the CPU that Envoy spends on each.
    async fn pace(&self, number: usize) -> anyhow::Result<(f64, f64)> {
        const REQUESTS: usize = 2000;
        let mut connection = self.connect().await?;
        for _ in 0..200 {
            self.ask(&mut connection, number).await?;
        }
        let mut times = Vec::with_capacity(REQUESTS);
        let before = self.cpu();
        for _ in 0..REQUESTS {
            let begin = Instant::now();
            self.ask(&mut connection, number).await?;
            times.push(begin.elapsed());
        }
        let used = (self.cpu() - before) * 1e6 / REQUESTS as f64;
        Ok((median(&mut times) * 1e6, used))
    }

    /// Seconds of CPU that the Envoy has used.
    fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.envoy.pid().unwrap_or_default());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok());
        ticks.sum::<f64>() / 100.0
    }

    /// The first request for a model fetches its table.
    async fn first_requests(&self) -> anyhow::Result<f64> {
        let mut connection = self.connect().await?;
        let mut times = Vec::new();
        for number in (self.models / 3..self.models / 2).take(50) {
            let begin = Instant::now();
            self.ask(&mut connection, number).await?;
            times.push(begin.elapsed());
        }
        Ok(median(&mut times) * 1e3)
    }

    /// Writes a route's file, and asks until the answer is as wanted.
    async fn edit(
        &self,
        at: usize,
        text: &str,
        number: usize,
        wanted: &dyn Fn(u16, &Value) -> bool,
    ) -> anyhow::Result<Effect> {
        self.relay.settled().await;
        self.relay.forget();
        let mut connection = self.connect().await?;
        let body = json!({"model": model(number)}).to_string();
        self.control.write(&file(at), text)?;
        let begin = Instant::now();
        let seen = loop {
            let reply = connection.post(CHAT, body.clone()).await?;
            if wanted(reply.status.as_u16(), &reply.json()) {
                break Instant::now();
            }
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(20), "an edit has no effect");
        };
        let (bytes, first) = self.relay.settled().await;
        let pushed = first.unwrap_or(begin);
        Ok(Effect { bytes, after_push: seen.saturating_duration_since(pushed), after_edit: seen - begin })
    }

    /// One model more, changed, and removed, again and again.
    async fn edits(&self) -> anyhow::Result<()> {
        let last = self.models.div_ceil(RULES);
        let new = last * RULES;
        let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..EDITS {
            let with = models(last, new + 1, &|_| None);
            added.push(self.edit(last, &with, new, &|status, _| status == 200).await?);
            let name = format!("sent-{round}");
            let text = models(last, new + 1, &|_| Some(name.clone()));
            let sent = |_: u16, seen: &Value| seen["body"].as_str().is_some_and(|body| body.contains(&name));
            changed.push(self.edit(last, &text, new, &sent).await?);
            let without = models(last, new, &|_| None).replace("  rules:\n", "  rules: []\n");
            removed.push(self.edit(last, &without, new, &|status, _| status == 404).await?);
        }
        for (what, effects) in [("added", added), ("changed", changed), ("removed", removed)] {
            Effect::print(what, effects);
        }
        Ok(())
    }

    async fn list(&self) -> anyhow::Result<(usize, Duration, usize)> {
        self.relay.settled().await;
        self.relay.forget();
        let begin = Instant::now();
        let reply = HttpClient::new(self.port).get("/v1/models").await?;
        let took = begin.elapsed();
        let listed = reply.json()["data"].as_array().map_or(0, Vec::len);
        Ok((listed, took, self.relay.settled().await.0))
    }
}

/// What became of an edit.
struct Effect {
    bytes: usize,
    after_push: Duration,
    after_edit: Duration,
}

impl Effect {
    fn print(what: &str, effects: Vec<Self>) {
        let most = effects.iter().map(|effect| effect.bytes).max().unwrap_or_default();
        let mut pushed: Vec<_> = effects.iter().map(|effect| effect.after_push).collect();
        let mut edited: Vec<_> = effects.iter().map(|effect| effect.after_edit).collect();
        let [pushed_half, edited_half] = [median(&mut pushed) * 1e3, median(&mut edited) * 1e3];
        let slowest = pushed.last().map_or(0.0, Duration::as_secs_f64) * 1e3;
        println!(
            "  one {what:<8} {most:>8} bytes at most, in effect {pushed_half:.1} ms after the push (slowest {slowest:.1}), {edited_half:.0} ms after the edit"
        );
    }
}

/// In seconds; sorts.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let chancery = std::env::var("CHANCERY_BIN").unwrap_or_else(|_| "target/release/chancery".to_owned());
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    drop(Bench::start(&chancery, 1).await?);
    let bench = Bench::start(&chancery, count).await?;
    println!("  the first request for a model takes {:.1} ms", bench.first_requests().await?);
    for (what, number) in [("first", 0), ("last", count - 1), ("first", 0), ("last", count - 1)] {
        let (time, cpu) = bench.pace(number).await?;
        println!("  the {what:<5} model: {time:.0} us a request, {cpu:.0} us of Envoy's CPU");
    }
    let load = Load::start(bench.port, count).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("  longest wait of a request before any edit: {}", load.longest());
    bench.edits().await?;
    println!("  longest meanwhile: {}", load.longest());
    let (listed, took, bytes) = bench.list().await?;
    println!("  the list of {listed} models: {} ms, {bytes} bytes", took.as_millis());
    println!("  after it was asked for:");
    bench.edits().await?;
    println!("  longest meanwhile: {}", load.longest());
    let (listed, took, bytes) = bench.list().await?;
    println!("  the list of {listed} models: {} ms, {bytes} bytes", took.as_millis());
    println!(
        "  requests of the load that failed: {} of {}; served in all: {}",
        load.failed(),
        load.answered(),
        bench.server.served()
    );
    Ok(())
}
