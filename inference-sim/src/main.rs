//! `inference-sim`: a simulated inference server.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use inference_sim::{Options, Simulator};

/// An inference server without a model: answers as vLLM does, with predictable numbers
#[derive(Debug, Parser)]
#[command(name = "inference-sim", version, about)]
struct Cli {
    /// The address to serve on
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// The server's own name, part of every answer
    #[arg(long, default_value = "sim")]
    name: String,
    /// A name the model is served under; may be given several times
    #[arg(long = "model", default_value = "sim-model")]
    models: Vec<String>,
    /// An adapter over the model; may be given several times
    #[arg(long = "lora")]
    loras: Vec<String>,
    /// The key that clients must send
    #[arg(long, env = "INFERENCE_SIM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Words in an answer
    #[arg(long, default_value_t = 16)]
    completion_tokens: usize,
    /// How many of them are reasoning
    #[arg(long, default_value_t = 0)]
    reasoning_tokens: usize,
    /// How many words of each prompt count as cached
    #[arg(long, default_value_t = 0)]
    cached_tokens: usize,
    /// Milliseconds before the first word
    #[arg(long, default_value_t = 50)]
    first_token_ms: u64,
    /// Milliseconds between words
    #[arg(long, default_value_t = 20)]
    pace_ms: u64,
    /// Requests that run at once; further ones wait
    #[arg(long, default_value_t = 64)]
    max_running: usize,
    /// Send the load header with every answer
    #[arg(long)]
    always_report_load: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let options = Options {
        name: cli.name,
        models: cli.models,
        loras: cli.loras,
        api_key: cli.api_key,
        completion_tokens: cli.completion_tokens,
        reasoning_tokens: cli.reasoning_tokens,
        cached_tokens: cli.cached_tokens,
        first_token: Duration::from_millis(cli.first_token_ms),
        pace: Duration::from_millis(cli.pace_ms),
        max_running: cli.max_running,
        always_report_load: cli.always_report_load,
        ..Options::default()
    };
    let name = options.name.clone();
    let models = options.models.join(", ");
    let simulator = Simulator::bind(options, cli.listen).await?;
    writeln!(std::io::stderr(), "{name} serves {models} on http://{}", simulator.address)?;
    simulator.wait().await;
    Ok(())
}
