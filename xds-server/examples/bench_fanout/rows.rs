//! What is measured, one server process for each group of rows.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use xds_api::ResourceType;

use crate::Result;
use crate::client::{self, Asks, Conduct, Known, Reports, Seen, Variant};
use crate::process::{Contestant, Served};

pub(crate) type Measured = BTreeMap<&'static str, f64>;

/// In the order in which they are printed.
pub(crate) const ROWS: &[(&str, &str)] = &[
    ("idle", "RSS a stream, idle, KiB"),
    ("connect", "connection and first request, CPU us"),
    ("push", "1 KiB push and ack, CPU us"),
    ("ack50", "  time to an ack, p50, ms"),
    ("ack99", "  p99"),
    ("last", "  to the last ack, median round"),
    ("big", "1 MiB push and ack, CPU us"),
    ("bigpeak", "RSS a stream after it, KiB"),
    ("slowlast", "1 MiB, 5 % do not read: last ack of others, ms"),
    ("slowcpu", "  CPU us a stream that reads"),
    ("again", "reconnect, 2,000 names known, CPU us a stream"),
    ("againbytes", "  bytes sent to each"),
    ("anew", "reconnect, nothing known, CPU us a stream"),
    ("anewbytes", "  bytes sent to each"),
    ("rejectmore", "1 % reject: messages to each beyond the first"),
    ("rejectcpu", "  CPU in the two seconds after, ms"),
];

/// Names of each of two types that a reconnecting client knows.
const NAMES: usize = 1000;
/// How many connect at the same time.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
/// The clients of more streams would hold more than a large message each can take here.
const MOST_LARGE: usize = 2000;

/// Groups of rows, each with a server of its own.
pub(crate) const GROUPS: [&str; 4] = ["pushes", "slow", "reconnects", "rejections"];

pub(crate) async fn measure(
    contestant: &Contestant,
    streams: usize,
    rounds: usize,
    wanted: &[&str],
) -> Result<Measured> {
    let mut measured = Measured::new();
    let few = streams.min(1000);
    for group in GROUPS.into_iter().filter(|group| wanted.contains(group)) {
        let result = match group {
            "pushes" => pushes(contestant, streams, rounds, &mut measured).await,
            "slow" => slow(contestant, few, &mut measured).await,
            "reconnects" if contestant.variant == Variant::Delta && !contestant.is_floor() => {
                reconnects(contestant, few, &mut measured).await
            }
            "rejections" if !contestant.is_floor() => rejections(contestant, few, &mut measured).await,
            _ => Ok(()),
        };
        result.map_err(|error| format!("{}, {group}: {error}", contestant.title))?;
    }
    Ok(measured)
}

/// Clients of one server.
struct Crowd {
    connecting: Arc<Semaphore>,
    tasks: JoinSet<()>,
    seen: Arc<Seen>,
    acks: mpsc::UnboundedSender<Instant>,
    acked: mpsc::UnboundedReceiver<Instant>,
}

impl Crowd {
    fn new() -> Self {
        let (acks, acked) = mpsc::unbounded_channel();
        Self { connecting: Arc::new(Semaphore::new(AT_ONCE)), tasks: JoinSet::new(), seen: Arc::default(), acks, acked }
    }

    fn join(&mut self, server: &Served, asks: &Asks, count: usize) {
        for _ in 0..count {
            let (seen, acks, connecting) = (self.seen.clone(), self.acks.clone(), self.connecting.clone());
            let reports = Reports { seen, acks, connecting };
            let run = client::run(server.address, asks.clone(), reports);
            self.tasks.spawn(async move {
                if let Err(error) = run.await {
                    drop(writeln!(std::io::stderr(), "a client failed: {error:?}"));
                }
            });
        }
    }

    async fn wait(&mut self, count: usize) -> Result<Vec<Instant>> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let ack = tokio::time::timeout(PATIENCE, self.acked.recv()).await;
            let ack = ack.map_err(|_| format!("{} of {count} answers came", times.len()))?;
            times.push(ack.ok_or("the clients are gone")?);
        }
        Ok(times)
    }

    /// Until nothing is sent and the server does nothing.
    async fn settle(&mut self, server: &Served) -> Result<()> {
        let mut before = (self.seen.messages.load(Relaxed), server.cpu()?);
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = (self.seen.messages.load(Relaxed), server.cpu()?);
            if now.0 == before.0 && now.1 - before.1 < Duration::from_millis(3) {
                break;
            }
            before = now;
        }
        while self.acked.try_recv().is_ok() {}
        Ok(())
    }
}

fn pool(contestant: &Contestant, conduct: Conduct) -> Asks {
    Asks {
        variant: contestant.variant,
        conduct,
        wants: Arc::new(vec![(ResourceType::Endpoints, vec!["pool".to_owned()])]),
        known: Arc::default(),
        learns: None,
    }
}

fn us(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len().saturating_sub(1)) as f64 * share) as usize;
    sorted.get(index).copied().unwrap_or_default()
}

async fn pushes(contestant: &Contestant, streams: usize, rounds: usize, measured: &mut Measured) -> Result<()> {
    let mut server = Served::start(contestant).await?;
    let mut crowd = Crowd::new();
    let (empty, before) = (server.rss_kib()?, server.cpu()?);
    crowd.join(&server, &pool(contestant, Conduct::Acknowledges), streams);
    crowd.wait(streams).await?;
    measured.insert("connect", us(server.cpu()? - before, streams));
    server.say("gc").await?;
    server.obeyed().await?;
    let per_stream = |kib: f64| (kib - empty) / streams as f64;
    measured.insert("idle", per_stream(server.rss_kib()?));
    let (mut lasts, mut all, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (begin, before) = (Instant::now(), server.cpu()?);
        server.say("push 1024").await?;
        let times: Vec<f64> = crowd.wait(streams).await?.into_iter().map(|time| ms(time - begin)).collect();
        lasts.push(times.iter().copied().fold(0.0, f64::max));
        all.extend(times);
        server.obeyed().await?;
        costs.push(us(server.cpu()? - before, streams));
    }
    // The median: whoever else uses the machine costs caches, now and then.
    costs.sort_by(f64::total_cmp);
    measured.insert("push", at(&costs, 0.5));
    lasts.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    measured.insert("ack50", at(&all, 0.5));
    measured.insert("ack99", at(&all, 0.99));
    measured.insert("last", at(&lasts, 0.5));
    if streams > MOST_LARGE {
        return Ok(());
    }
    let before = server.cpu()?;
    server.say(&format!("push {MIB}")).await?;
    crowd.wait(streams).await?;
    measured.insert("big", us(server.cpu()? - before, streams));
    server.obeyed().await?;
    measured.insert("bigpeak", per_stream(server.rss_kib()?));
    Ok(())
}

/// One in twenty does not read.
async fn slow(contestant: &Contestant, streams: usize, measured: &mut Measured) -> Result<()> {
    let mut server = Served::start(contestant).await?;
    let mut crowd = Crowd::new();
    let stalled = streams / 20;
    crowd.join(&server, &pool(contestant, Conduct::Stalls), stalled);
    crowd.join(&server, &pool(contestant, Conduct::Acknowledges), streams - stalled);
    crowd.wait(streams).await?;
    let (begin, before) = (Instant::now(), server.cpu()?);
    server.say(&format!("push {MIB}")).await?;
    let times = crowd.wait(streams - stalled).await?;
    measured.insert("slowcpu", us(server.cpu()? - before, streams - stalled));
    measured.insert("slowlast", times.into_iter().map(|time| ms(time - begin)).fold(0.0, f64::max));
    Ok(())
}

async fn reconnects(contestant: &Contestant, streams: usize, measured: &mut Measured) -> Result<()> {
    let mut server = Served::start(contestant).await?;
    server.say(&format!("names {NAMES}")).await?;
    server.obeyed().await?;
    let names: Vec<String> = (0..NAMES).map(|n| format!("service/default/application-{n}/80")).collect();
    let wants = Arc::new(vec![(ResourceType::Cluster, Vec::new()), (ResourceType::Endpoints, names)]);
    let learnt: Arc<Mutex<Known>> = Arc::default();
    let asks = Asks { wants: wants.clone(), learns: Some(learnt.clone()), ..pool(contestant, Conduct::Acknowledges) };
    let mut first = Crowd::new();
    first.join(&server, &asks, 1);
    first.wait(2).await?;
    first.settle(&server).await?;
    first.tasks.shutdown().await;
    let known = Arc::new(learnt.lock().map_err(|_| "a client failed")?.clone());
    let total: usize = known.values().map(BTreeMap::len).sum();
    if total != 2 * NAMES {
        return Err(format!("a client learnt {total} names").into());
    }
    let anew = Asks { learns: None, ..asks };
    let again = Asks { known, ..anew.clone() };
    for (asks, count, cpu, bytes) in
        [(again, streams, "again", "againbytes"), (anew, streams / 10, "anew", "anewbytes")]
    {
        let mut crowd = Crowd::new();
        let before = server.cpu()?;
        crowd.join(&server, &asks, count);
        crowd.wait(count).await?;
        crowd.settle(&server).await?;
        measured.insert(cpu, us(server.cpu()? - before, count));
        measured.insert(bytes, crowd.seen.bytes.load(Relaxed) as f64 / count as f64);
    }
    Ok(())
}

/// One in a hundred rejects all it is sent.
async fn rejections(contestant: &Contestant, streams: usize, measured: &mut Measured) -> Result<()> {
    let server = Served::start(contestant).await?;
    let mut crowd = Crowd::new();
    let odd = (streams / 100).max(1);
    crowd.join(&server, &pool(contestant, Conduct::Acknowledges), streams - odd);
    crowd.wait(streams - odd).await?;
    crowd.join(&server, &pool(contestant, Conduct::Rejects), odd);
    crowd.wait(odd).await?;
    let before = server.cpu()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    measured.insert("rejectcpu", ms(server.cpu()? - before));
    let more = crowd.seen.rejected.load(Relaxed) as f64 / odd as f64 - 1.0;
    measured.insert("rejectmore", more);
    Ok(())
}
