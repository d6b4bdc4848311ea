//! `chancery fleet`: every connected Envoy.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::Value;

use super::ask;

/// Show every connected Envoy: its Gateway, what it acknowledged, what it rejected
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin address of the control plane
    #[arg(long, env = "CHANCERY_ADMIN", default_value = "127.0.0.1:19000")]
    admin: SocketAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let page = super::runtime()?.block_on(ask::get(args.admin, "/fleet"))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&page)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let clients = page["clients"].as_array().map(Vec::as_slice).unwrap_or_default();
    writeln!(out, "{:<28} {:<20} {:<9} {:<6} {:<22} STATE", "GATEWAY", "NODE", "VERSION", "PROTO", "ADDRESS")?;
    for client in clients {
        let text = |field: &str| client[field].as_str().unwrap_or_default();
        writeln!(
            out,
            "{:<28} {:<20} {:<9} {:<6} {:<22} {}",
            text("gateway"),
            text("node"),
            text("version"),
            text("variant"),
            text("address"),
            state(&client["types"])
        )?;
    }
    let rejections = page["rejections"].as_array().map(Vec::as_slice).unwrap_or_default();
    for rejection in rejections {
        let text = |field: &str| rejection[field].as_str().unwrap_or_default();
        writeln!(out, "rejected: {} {} {}: {}", text("gateway"), text("kind"), text("name"), text("message"))?;
    }
    for held in page["held"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |field: &str| held[field].as_str().unwrap_or_default();
        let because: Vec<&str> = held["because"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        writeln!(out, "held back: {} {} {}: {}", text("gateway"), text("kind"), text("name"), because.join(", "))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One word for a client in step, or what it lags behind in.
fn state(types: &Value) -> String {
    let Some(types) = types.as_object() else { return "connected".to_owned() };
    let behind = types.iter().filter(|(_, progress)| progress["sent"] != progress["acknowledged"]);
    let words: Vec<String> = behind
        .map(|(kind, progress)| match progress["rejected"].as_str() {
            Some(message) => format!("{kind} rejected: {message}"),
            None => format!("{kind} pending"),
        })
        .collect();
    if words.is_empty() { "in step".to_owned() } else { words.join(", ") }
}
