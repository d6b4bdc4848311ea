//! Chancery: the one binary.

mod cli;
mod commands;
mod drawing;
mod explain;
mod managed;
mod serve;

use std::process::ExitCode;

/// Ten thousand streams and a translation are many small pieces that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
