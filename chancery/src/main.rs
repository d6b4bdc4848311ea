//! Chancery: the one binary.

mod cli;
mod commands;
mod drawing;
mod explain;
mod managed;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
