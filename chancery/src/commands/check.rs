//! `chancery check DIR`: every finding, with file, line and column.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use kinds::{Diagnostic, Severity};

use super::objects::Objects;

/// Say what is wrong with manifests, and where
///
/// Exit status: 0 when nothing reaches --fail-on, 1 when something does, 2 when the check could not be carried out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    objects: Objects,
    /// Text for people, JSON for programs, SARIF 2.1.0 for code review
    #[arg(long, value_enum, default_value_t = Format::Text, env = "CHANCERY_CHECK_FORMAT")]
    format: Format,
    /// Leave out findings that are less severe
    #[arg(long, value_enum, default_value_t = Level::Info, env = "CHANCERY_CHECK_SEVERITY")]
    severity: Level,
    /// The severity from which a finding makes the check fail
    #[arg(long, value_enum, default_value_t = Level::Error, env = "CHANCERY_CHECK_FAIL_ON")]
    fail_on: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warning,
    Info,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warning => Self::Warning,
            Level::Info => Self::Info,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let translated = args.objects.translate()?;
    let all = translated.diagnostics;
    // Severities are ordered from the worst down.
    let (least, failing) = (Severity::from(args.severity), Severity::from(args.fail_on));
    let shown: Vec<Diagnostic> = all.iter().filter(|d| d.severity <= least).cloned().collect();
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{:#}", kinds::report::to_json(&shown))?,
        Format::Sarif => writeln!(stdout, "{:#}", kinds::report::to_sarif(&shown))?,
        Format::Text => {
            let color = stdout.is_terminal();
            write!(stdout, "{}", kinds::report::to_text(&shown, color))?;
            let count = |severity| all.iter().filter(|d| d.severity == severity).count();
            writeln!(
                stdout,
                "{} objects: {} errors, {} warnings, {} notes",
                translated.translator.objects().count(),
                count(Severity::Error),
                count(Severity::Warning),
                count(Severity::Info),
            )?;
        }
    }
    let fails = all.iter().any(|diagnostic| diagnostic.severity <= failing);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
