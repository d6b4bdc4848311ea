//! `chancery check DIR`: every finding, with file, line and column.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use kinds::Severity;

use super::{Manifests, has_errors};

/// Say what is wrong with manifests, and where; exit 1 on errors
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let translated = args.manifests.translate();
    let mut stdout = std::io::stdout().lock();
    let color = stdout.is_terminal();
    write!(stdout, "{}", kinds::report::to_text(&translated.diagnostics, color))?;
    let count = |severity| translated.diagnostics.iter().filter(|d| d.severity == severity).count();
    writeln!(
        stdout,
        "{} objects: {} errors, {} warnings, {} notes",
        translated.translator.objects().count(),
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Info),
    )?;
    Ok(if has_errors(&translated.diagnostics) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
