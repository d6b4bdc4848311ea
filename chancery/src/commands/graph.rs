//! `chancery graph DIR`: the resource graph as DOT.

use std::io::Write;
use std::process::ExitCode;

use super::Manifests;

/// Draw which object refers to which, and what is missing or not permitted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let translated = args.manifests.translate();
    write!(std::io::stdout().lock(), "{}", translated.translator.graph().to_dot())?;
    Ok(ExitCode::SUCCESS)
}
