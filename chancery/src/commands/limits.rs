//! `chancery limits`: who has spent what.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::ask;

/// Show what has been spent of every limit, what is left, and when it starts over; or start counters anew
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin address of the control plane
    #[arg(long, env = "CHANCERY_ADMIN", default_value = "127.0.0.1:19000")]
    admin: SocketAddr,
    /// Only counters with this text in an entry, such as `header x-user-id=alice`
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Those closest to their limit first
    #[arg(long)]
    pressure: bool,
    /// How many to show
    #[arg(long, default_value_t = 50)]
    count: usize,
    /// Put the counters that `--contains` finds to nothing spent
    #[arg(long, requires = "contains")]
    reset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let mut out = std::io::stdout().lock();
    if args.reset {
        let request = json!({ "contains": args.contains });
        let done = runtime.block_on(ask::post(args.admin, "/limits/reset", &request))?;
        writeln!(out, "{} counters start anew", done["reset"])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut path = format!("/limits?count={}", args.count);
    if args.pressure {
        path.push_str("&order=pressure");
    }
    if let Some(text) = &args.contains {
        path.push_str("&contains=");
        path.push_str(&percent(text));
    }
    let page = runtime.block_on(ask::get(args.admin, &path))?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&page)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let counters = page["counters"].as_array().map(Vec::as_slice).unwrap_or_default();
    writeln!(out, "{:>12} {:>10} {:>12} {:>12} {:>9}  WHAT", "SPENT", "HELD", "LEFT", "OF", "RESETS IN")?;
    for counter in counters {
        let number = |field: &str| counter[field].as_u64().unwrap_or_default();
        let unit = counter["unit"].as_str().unwrap_or_default().to_ascii_lowercase();
        writeln!(
            out,
            "{:>12} {:>10} {:>12} {:>12} {:>8}s  {} a {unit}: {}",
            number("spent"),
            number("reserved"),
            number("remaining"),
            number("limit"),
            number("resets_in"),
            rule(counter),
            who(counter)
        )?;
    }
    let total = page["total"].as_u64().unwrap_or_default();
    if total > counters.len() as u64 {
        writeln!(out, "{} of {total} counters", counters.len())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rule(counter: &Value) -> String {
    let text = |field: &str| counter[field].as_str().unwrap_or_default();
    format!("{} {}", text("policy"), text("field"))
}

/// What tells the counter from others of its rule.
fn who(counter: &Value) -> String {
    let entries = counter["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs = entries.iter().filter_map(|entry| Some((entry[0].as_str()?, entry[1].as_str()?)));
    let telling = pairs.filter(|(key, value)| *key != "rule" && *value != "yes");
    let words: Vec<String> = telling.map(|(key, value)| format!("{key}={value}")).collect();
    if words.is_empty() { "everyone".to_owned() } else { words.join(", ") }
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}
