//! The command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{bootstrap, check, crds, diff, explain, fleet, graph, limits, run, serve, translate};

/// An xDS control plane for stock Envoys that front inference servers.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Run(Box<run::Args>),
    Translate(translate::Args),
    Check(check::Args),
    Graph(graph::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Bootstrap(bootstrap::Args),
    Fleet(fleet::Args),
    Crds(crds::Args),
    Limits(limits::Args),
}

pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Bootstrap(args) => bootstrap::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Limits(args) => limits::run(&args),
        Command::Translate(args) => translate::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}
