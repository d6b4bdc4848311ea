//! A server in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Result;
use crate::client::Variant;

/// A server, and the protocol variant in which it is asked.
pub(crate) struct Contestant {
    pub title: &'static str,
    program: Option<String>,
    argument: &'static str,
    pub variant: Variant,
}

impl Contestant {
    pub(crate) fn is_ours(&self) -> bool {
        self.argument == "serve"
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.argument == "floor"
    }
}

pub(crate) fn contestants(peers: Option<&str>) -> Vec<Contestant> {
    let own = |title, argument, variant| Contestant { title, program: None, argument, variant };
    let mut all = vec![
        own("ours, Delta", "serve", Variant::Delta),
        own("ours, SotW", "serve", Variant::Sotw),
        own("floor", "floor", Variant::Delta),
    ];
    if let Some(path) = peers {
        let peer = |title, argument, variant| Contestant { title, program: Some(path.to_owned()), argument, variant };
        all.extend([
            peer("gcp snapshot, D.", "snapshot", Variant::Delta),
            peer("gcp snapshot, S.", "snapshot", Variant::Sotw),
            peer("gcp linear, Delta", "linear", Variant::Delta),
        ]);
    }
    all
}

pub(crate) struct Served {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
}

impl Served {
    pub(crate) async fn start(contestant: &Contestant) -> Result<Self> {
        let program = match &contestant.program {
            Some(path) => path.into(),
            None => std::env::current_exe()?,
        };
        let mut child = Command::new(program)
            .arg(contestant.argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let address = output.next_line().await?.ok_or("no address")?.trim().parse()?;
        Ok(Self { child, input, output, address })
    }

    /// Gives a command, and does not wait until it is obeyed.
    pub(crate) async fn say(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    pub(crate) async fn obeyed(&mut self) -> Result<()> {
        let line = tokio::time::timeout(Duration::from_secs(120), self.output.next_line()).await??;
        line.map(drop).ok_or_else(|| "the server is gone".into())
    }

    fn proc(&self, file: &str) -> Result<String> {
        let pid = self.child.id().ok_or("the server has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{file}"))?)
    }

    pub(crate) fn rss_kib(&self) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let pid = self.child.id().ok_or("the server has ended")?;
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}
