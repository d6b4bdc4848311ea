//! How much many Envoys cost: `cargo run --release -p xds-server --example bench_fanout -- [STREAMS] [ROUNDS] [PEERS] [GROUPS]`.
//!
//! Servers run as child processes, so that their CPU and memory are theirs alone: ours; the floor, which only writes one
//! shared frame to each stream and reads what comes back; and, with the path of the program in `bench/peers`, other control
//! planes. The same clients, bare HTTP/2 streams, drive all of them. `make bench-fanout` runs it.

mod client;
mod process;
mod rows;
mod servers;

use std::io::Write;

use rows::{Measured, ROWS};
use servers::Kind;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("serve") => runtime.block_on(servers::serve(Kind::Ours)),
        Some("floor") => runtime.block_on(servers::serve(Kind::Floor)),
        _ => runtime.block_on(measure(&arguments)),
    }
}

async fn measure(arguments: &[String]) -> Result<()> {
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (streams, rounds) = (number(0, 1000)?, number(1, 10)?);
    let peers = arguments.get(2).map(String::as_str).filter(|path| !path.is_empty());
    let wanted: Vec<&str> = arguments.get(3).map_or(rows::GROUPS.to_vec(), |groups| groups.split(',').collect());
    let contestants = process::contestants(peers);
    let mut columns: Vec<Measured> = Vec::new();
    for contestant in &contestants {
        columns.push(rows::measure(contestant, streams, rounds, &wanted).await?);
    }
    print(streams, rounds, &contestants, &columns, peers.is_some())
}

/// Each row: our two variants, the floor, then the peers; and each as a multiple of ours in the same variant.
fn print(
    streams: usize,
    rounds: usize,
    contestants: &[process::Contestant],
    columns: &[Measured],
    with_peers: bool,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{streams} streams, {rounds} rounds; CPU is the server's, user and system, on one thread")?;
    write!(out, "{:<46}", "")?;
    for contestant in contestants {
        write!(out, " {:>17}", contestant.title)?;
    }
    writeln!(out)?;
    for (row, title) in ROWS {
        if columns.iter().all(|column| !column.contains_key(row)) {
            continue;
        }
        write!(out, "{title:<46}")?;
        for (contestant, column) in contestants.iter().zip(columns) {
            let ours = contestants.iter().position(|c| c.is_ours() && c.variant == contestant.variant);
            let base = ours.and_then(|at| columns.get(at)).and_then(|column| column.get(row));
            match (column.get(row), base) {
                (Some(value), Some(base)) if !contestant.is_ours() && *base > 0.0 => {
                    write!(out, " {:>17}", format!("{value:.1} ({:.2}x)", value / base))?;
                }
                (Some(value), _) => write!(out, " {value:>17.1}")?,
                (None, _) => write!(out, " {:>17}", "-")?,
            }
        }
        writeln!(out)?;
    }
    if !with_peers {
        writeln!(out, "go-control-plane is left out: there is no Go here, or its module cannot be had.")?;
    }
    writeln!(out, "diderot is left out: its module cannot be had from every module proxy.")?;
    Ok(())
}
