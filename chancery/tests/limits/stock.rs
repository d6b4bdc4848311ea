//! The stock rate limit service with a Redis, fed by the control plane and asked by a stock Envoy.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use inference_sim::{Options, Simulator};
use testkit::{HttpClient, eventually, free_port};

use crate::gateway::{CHAT, Gateway, endpoints, question};

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Stock {
    port: u16,
    service: Option<Process>,
    _redis: Process,
    redis_port: u16,
    binary: PathBuf,
    _directory: tempfile::TempDir,
}

fn found(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Stock {
    /// Its Redis, and an address for it; none, and why, where it cannot run.
    fn prepare() -> Option<Self> {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/ratelimit/service_cmd");
        let (Some(redis), true) = (found("redis-server"), binary.is_file()) else {
            eprintln!(
                "SKIPPED: needs redis-server on the path and .cache/ratelimit/service_cmd, which the tests of the rate limit service build with Go"
            );
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let redis_port = free_port();
        let redis = Command::new(redis)
            .args(["--bind", "127.0.0.1", "--port", &redis_port.to_string(), "--save", "", "--appendonly", "no"])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn();
        let redis = Process(redis.unwrap());
        Some(Self { port: free_port(), service: None, _redis: redis, redis_port, binary, _directory: directory })
    }

    async fn start(&mut self, xds: u16) {
        let port = |port: u16| port.to_string();
        let service = Command::new(&self.binary)
            .env_clear()
            .envs([
                ("HOST", "127.0.0.1"),
                ("PORT", &port(free_port())),
                ("GRPC_HOST", "127.0.0.1"),
                ("GRPC_PORT", &port(self.port)),
                ("DEBUG_HOST", "127.0.0.1"),
                ("DEBUG_PORT", &port(free_port())),
                ("USE_STATSD", "false"),
                ("DISABLE_STATS", "true"),
                ("LOG_LEVEL", "ERROR"),
                ("REDIS_SOCKET_TYPE", "tcp"),
                ("REDIS_URL", &format!("127.0.0.1:{}", self.redis_port)),
                ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
                ("CONFIG_GRPC_XDS_SERVER_URL", &format!("127.0.0.1:{xds}")),
                ("CONFIG_GRPC_XDS_NODE_ID", "limits"),
                ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"),
                ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "1s"),
                ("XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "2"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.service = Some(Process(service.unwrap()));
        eventually("the stock service listens", Duration::from_secs(20), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
    }

    fn alive(&mut self) -> bool {
        self.service.as_mut().is_some_and(|service| service.0.try_wait().is_ok_and(|ended| ended.is_none()))
    }
}

/// What the service was sent, and what it said to it.
async fn progress(gateway: &Gateway) -> Option<serde_json::Value> {
    let fleet = gateway.control.page("/fleet").await.ok()?;
    let client = fleet["clients"].as_array()?.iter().find(|client| client["node"] == "limits")?.clone();
    Some(client["types"]["ratelimit"].clone())
}

async fn acknowledged(gateway: &Gateway) {
    eventually("the stock service has taken its configuration", Duration::from_secs(20), || async {
        let progress = progress(gateway).await?;
        assert!(progress["rejected"].is_null(), "{progress}");
        (!progress["sent"].is_null() && progress["sent"] == progress["acknowledged"]).then_some(())
    })
    .await;
}

/// The guide's manifest, counted by the stock service: everything but the exactness that it does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_counted_by_the_stock_service_too() {
    let Some(mut stock) = Stock::prepare() else { return };
    let options = Options { completion_tokens: 100, ..Options::new("kserve", "llama3-1b") };
    let server = Simulator::start(options).await.unwrap();
    let port = free_port();
    let manifests = crate::budgets::KSERVE.replace("      port: 80\n", &format!("      port: {port}\n"))
        + &endpoints("kserve-test", "llama3-1b-predictor", server.port());
    let service = format!("127.0.0.1:{}", stock.port);
    let gateway =
        Gateway::start("default/envoy-ai-gateway-basic", port, &manifests, &["--ratelimit-service", &service]).await;
    stock.start(gateway.control.xds).await;
    acknowledged(&gateway).await;
    let (whole, stream) = (question("llama3-1b", 100, false), question("llama3-1b", 100, true));
    gateway.ready(CHAT, &whole).await;
    eventually("limits are asked for", Duration::from_secs(10), || async {
        gateway.ask("first", &whole).await.header("x-ratelimit-limit").map(|_| ())
    })
    .await;
    let left = |reply: &testkit::Reply| reply.header("x-ratelimit-remaining").unwrap().parse::<u64>().unwrap();
    for (asked, body) in [&whole, &stream, &whole, &stream, &whole].into_iter().enumerate() {
        let reply = gateway.ask("alice", body).await;
        assert_eq!(reply.status, 200, "{asked}: {}", reply.text());
        assert_eq!(reply.header("x-ratelimit-limit"), Some("1000, 1000;w=3600"));
        // What a request cost is known a moment after its end.
        let spent = 200 * (asked as u64 + 1);
        eventually("the cost has arrived", Duration::from_secs(10), || async {
            let keys = redis_sum(stock.redis_port, "alice").await?;
            (keys == spent).then_some(())
        })
        .await;
        assert!(left(&reply) <= 1000);
    }
    // A check without hits is refused past the limit only: one more is let through.
    assert_eq!(gateway.ask("alice", &whole).await.status, 200);
    eventually("the cost has arrived", Duration::from_secs(10), || async {
        (redis_sum(stock.redis_port, "alice").await? == 1200).then_some(())
    })
    .await;
    let refused = gateway.ask("alice", &stream).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-envoy-ratelimited")), (429, Some("true")));
    assert_eq!(refused.body.len(), 0);
    assert_eq!(gateway.ask("bob", &whole).await.status, 200);
}

/// The sum of all counters with a text in their key.
async fn redis_sum(port: u16, text: &str) -> Option<u64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let ask = |words: &[&str]| {
        words.iter().fold(format!("*{}\r\n", words.len()), |all, word| format!("{all}${}\r\n{word}\r\n", word.len()))
    };
    let script = "local sum = 0 for _, key in ipairs(redis.call('KEYS', '*' .. ARGV[1] .. '*')) do sum = sum + redis.call('GET', key) end return sum";
    socket.write_all(ask(&["EVAL", script, "0", text]).as_bytes()).await.ok()?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer).await.ok()?;
    std::str::from_utf8(&answer[..length]).ok()?.trim().strip_prefix(':')?.parse().ok()
}

/// Every manifest of the golden cases about limits, one after the other: the stock service takes what it is sent, and lives.
#[tokio::test(flavor = "multi_thread")]
async fn no_limit_that_can_be_written_trips_the_stock_service() {
    let Some(mut stock) = Stock::prepare() else { return };
    let service = format!("127.0.0.1:{}", stock.port);
    let gateway = Gateway::start(
        "default/ai",
        free_port(),
        &crate::gateway::gateway(free_port()),
        &["--ratelimit-service", &service],
    )
    .await;
    stock.start(gateway.control.xds).await;
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/limits");
    let mut names: Vec<PathBuf> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() > 50);
    for (number, case) in names.iter().enumerate() {
        let text = std::fs::read_to_string(case.join("input.yaml")).unwrap();
        let marker = format!("case-{number}");
        let manifests = text
            + &crate::gateway::gateway(free_port()).replace("name: ai,", &format!("name: {marker},")).replacen(
                "apiVersion",
                "---\napiVersion",
                1,
            );
        gateway.control.write("all.yaml", &manifests).unwrap();
        eventually("the manifest is translated", Duration::from_secs(10), || async {
            let statuses = gateway.control.page("/status").await.ok()?;
            statuses.as_object()?.contains_key(&format!("Gateway default/{marker}")).then_some(())
        })
        .await;
        acknowledged(&gateway).await;
        assert!(stock.alive(), "{}", case.display());
    }
    let metrics = HttpClient::new(gateway.control.admin).get("/metrics").await.unwrap().text();
    assert!(!metrics.contains("xds_rejected_total{type=\"ratelimit\"} 1"), "{metrics}");
}
