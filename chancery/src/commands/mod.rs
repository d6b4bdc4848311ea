//! One file for each command.

pub(crate) mod check;
pub(crate) mod graph;
pub(crate) mod translate;

use std::path::PathBuf;

use kinds::{Diagnostic, Severity};
use sources::file::{Inventory, load};
use translator::{Change, Options, Translator};

/// Manifests to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Manifests {
    /// Directories (with all below them), files, or `-` for standard input
    #[arg(value_name = "DIR", required = true)]
    pub paths: Vec<PathBuf>,
}

/// A translation of everything that paths hold, and every finding on the way.
pub(crate) struct Translated {
    pub translator: Translator,
    pub diagnostics: Vec<Diagnostic>,
}

impl Manifests {
    pub(crate) fn translate(&self) -> Translated {
        let Inventory { objects, mut diagnostics, .. } = load(&self.paths);
        let mut translator = Translator::new(Options::default());
        translator.apply(objects.into_values().map(Change::Put));
        diagnostics.extend(translator.diagnostics());
        Translated { translator, diagnostics }
    }
}

pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
