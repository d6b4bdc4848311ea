//! One file for each command.

mod ask;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod crds;
pub(crate) mod diff;
pub(crate) mod envoys;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod graph;
pub(crate) mod limits;
pub(crate) mod objects;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod translate;

use std::path::PathBuf;

use kinds::{Diagnostic, Severity};
use sources::file::Scanner;
use sources::{Batch, SourceChange};
use translator::{Change, Options, Translator};

/// Manifests to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Manifests {
    /// Directories (with all below them), files, or `-` for standard input
    #[arg(value_name = "DIR", required = true)]
    pub paths: Vec<PathBuf>,
}

/// A translation of everything that there is, and every finding on the way.
pub(crate) struct Translated {
    pub translator: Translator,
    pub diagnostics: Vec<Diagnostic>,
}

impl Manifests {
    pub(crate) fn translate(&self) -> Translated {
        Translated::of(Scanner::new(self.paths.clone()).scan(), Options::default())
    }
}

impl Translated {
    fn of(batch: Batch, options: Options) -> Self {
        let mut diagnostics = batch.diagnostics;
        let mut translator = Translator::new(options);
        translator.apply(batch.changes.into_iter().map(change));
        diagnostics.extend(translator.diagnostics());
        Self { translator, diagnostics }
    }
}

pub(crate) fn change(change: SourceChange) -> Change {
    match change {
        SourceChange::Put(object) => Change::Put(object),
        SourceChange::Remove(id) => Change::Remove(id),
    }
}

pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// What a client library says of each failed request is said once for all of them.
const LOGGED: &str = "info,kube_client=off,kube_runtime=off";

/// Logs to standard error: `RUST_LOG` says how much, `CHANCERY_LOG_FORMAT=json` in which form.
pub(crate) fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = std::env::var("CHANCERY_LOG_FORMAT").is_ok_and(|format| format == "json");
    let started = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
    // Only a second call could fail, and then logging has started already.
    drop(started);
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
