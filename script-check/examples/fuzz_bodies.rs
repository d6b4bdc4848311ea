//! `make fuzz`: the scripts of AI routes beside `serde_json`, on as many bodies as the argument says.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use script_check::Scripts;

fn main() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let begin = Instant::now();
    let tally = Scripts::load()?.compare(0..count)?;
    println!("{count} bodies, the same by the scripts and by serde_json: {tally:?} in {:?}", begin.elapsed());
    Ok(())
}
