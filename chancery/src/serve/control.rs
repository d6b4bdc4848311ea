//! The one owner of the translation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use kinds::{Diagnostic, ObjectId, Severity};
use sources::Batch;
use tokio::sync::mpsc::Receiver;
use translator::{Options, Status, Translator, Update};
use xds_server::{Change, GroupKey, Snapshots};

use crate::commands::change;

/// What the admin pages show of the newest translation.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub statuses: BTreeMap<ObjectId, Arc<Status>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Takes batches until the source ends.
pub(crate) fn run(mut batches: Receiver<Batch>, snapshots: &Snapshots, view: &ArcSwap<View>) {
    let mut translator = Translator::new(Options::default());
    let mut source_findings = Vec::new();
    while let Some(batch) = batches.blocking_recv() {
        let begin = Instant::now();
        let changes = batch.changes.len();
        let update = translator.apply(batch.changes.into_iter().map(change));
        let sent = publish(&update, snapshots);
        snapshots.mark_ready();
        tracing::info!(changes, resources = sent, took = ?begin.elapsed(), "translated");
        let findings_changed = update.diagnostics_changed || batch.diagnostics != source_findings;
        source_findings = batch.diagnostics;
        if findings_changed {
            let mut diagnostics = source_findings.clone();
            diagnostics.extend(translator.diagnostics());
            report(&view.load().diagnostics, &diagnostics);
            let statuses = translator.statuses();
            view.store(Arc::new(View { statuses, diagnostics }));
        } else if !update.statuses.is_empty() {
            let diagnostics = view.load().diagnostics.clone();
            let statuses = translator.statuses();
            view.store(Arc::new(View { statuses, diagnostics }));
        }
    }
}

/// Sends each group its changes; returns how many resources changed.
fn publish(update: &Update, snapshots: &Snapshots) -> usize {
    let mut sent = 0;
    for (gateway, group) in &update.groups {
        let key = GroupKey::new(&format!("{}/{}", gateway.namespace, gateway.name));
        sent += group.set.len() + group.remove.len();
        snapshots.publish(&key, Change { set: group.set.clone(), remove: group.remove.clone() });
    }
    sent
}

/// Logs findings that were not there before.
fn report(before: &[Diagnostic], now: &[Diagnostic]) {
    for finding in now.iter().filter(|finding| !before.contains(finding)) {
        let position = finding.place.origin.locate(&finding.place.path);
        let at = position.map_or_else(
            || finding.place.origin.file.to_string(),
            |position| format!("{}:{}:{}", finding.place.origin.file, position.line, position.column),
        );
        let code = finding.code;
        match finding.severity {
            Severity::Error => tracing::error!(code, at, "{}", finding.message),
            Severity::Warning => tracing::warn!(code, at, "{}", finding.message),
            Severity::Info => tracing::debug!(code, at, "{}", finding.message),
        }
    }
}
