//! The one owner of the translation.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use kinds::{Diagnostic, ObjectId, Severity};
use sources::Batch;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use translator::{LimitRule, Status, Translator, Update};
use xds_server::{Change, GroupKey, Snapshots};

use super::cluster::Audience;
use super::limits::{self, Told};
use super::lingering::Lingering;
use super::traces::{Journey, Traces};
use crate::commands::change;

/// What the admin pages show of the newest translation.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub statuses: OrdMap<ObjectId, Arc<Status>>,
    pub diagnostics: Vec<Diagnostic>,
    /// The rules that counters belong to.
    pub limits: Arc<Vec<LimitRule>>,
}

impl View {
    /// What it is after an update. Cost follows the change.
    fn after(&self, update: &Update, diagnostics: Option<Vec<Diagnostic>>, translator: &Translator) -> Self {
        let mut statuses = self.statuses.clone();
        for (id, status) in &update.statuses {
            match status {
                Some(status) => drop(statuses.insert(id.clone(), status.clone())),
                None => drop(statuses.remove(id)),
            }
        }
        let limits = match &update.limits {
            Some(_) => Arc::new(translator.limit_rules()),
            None => self.limits.clone(),
        };
        Self { statuses, diagnostics: diagnostics.unwrap_or_else(|| self.diagnostics.clone()), limits }
    }
}

/// What the source says, as it comes.
#[derive(Debug)]
pub(crate) struct Batches {
    pub runtime: Handle,
    pub received: Receiver<Batch>,
}

impl Batches {
    /// The next batch; what lingers goes meanwhile, when it is time.
    fn next(&mut self, lingering: &mut Lingering, snapshots: &Snapshots) -> Option<Batch> {
        loop {
            let Some(deadline) = lingering.next() else { return self.received.blocking_recv() };
            let waiting = async { tokio::time::timeout_at(deadline.into(), self.received.recv()).await };
            if let Ok(batch) = self.runtime.block_on(waiting) {
                return batch;
            }
            for (group, change) in lingering.due(Instant::now()) {
                snapshots.publish(&group, change);
            }
        }
    }
}

/// Takes batches until the source ends.
pub(crate) fn run(
    mut translator: Translator,
    mut batches: Batches,
    snapshots: &Snapshots,
    limits: &Told,
    view: &ArcSwap<View>,
    audience: Option<&Audience>,
    traces: Option<&Traces>,
) {
    let mut source_findings = Vec::new();
    let (mut whole, mut held) = (false, false);
    let mut lingering = Lingering::default();
    while let Some(batch) = batches.next(&mut lingering, snapshots) {
        let (begin, received) = (Instant::now(), SystemTime::now());
        let noticed = batch.noticed.unwrap_or(received);
        let changes = batch.changes.len();
        let update = translator.apply(batch.changes.into_iter().map(change));
        let translated = SystemTime::now();
        let damaged = !held && source_errors(&batch.diagnostics) && !snapshots.restored().is_empty();
        let sent = if whole {
            // Limits are in force before the routes that ask for them.
            if let Some(config) = &update.limits {
                limits.tell(config);
            }
            publish(&update, &mut lingering, snapshots)
        } else if damaged {
            // What was restored is better than a first load with holes; the next edit ends it, for nothing that is wrong
            // in one place may hold up the rest.
            held = true;
            tracing::warn!("manifests have errors: the last good snapshot is served until the next edit");
            0
        } else {
            whole = true;
            limits.tell(&translator.limits());
            replace(&translator, &mut lingering, snapshots)
        };
        snapshots.mark_ready();
        tracing::info!(changes, resources = sent, took = ?begin.elapsed(), "translated");
        if let Some(traces) = traces {
            let gateways = update.groups.keys().map(group_key).collect();
            let published = SystemTime::now();
            let (objects, resources) = (changes, sent);
            traces.tell(Journey { noticed, received, translated, published, objects, resources, gateways });
        }
        let findings_changed = update.diagnostics_changed || batch.diagnostics != source_findings;
        source_findings = batch.diagnostics;
        if findings_changed {
            let mut diagnostics = source_findings.clone();
            diagnostics.extend(translator.diagnostics());
            report(&view.load().diagnostics, &diagnostics);
            view.store(Arc::new(view.load().after(&update, Some(diagnostics), &translator)));
        } else if !update.statuses.is_empty() || update.limits.is_some() {
            view.store(Arc::new(view.load().after(&update, None, &translator)));
        }
        if let Some(audience) = audience {
            audience.tell(update, findings_changed);
        }
    }
}

fn group_key(gateway: &ObjectId) -> GroupKey {
    GroupKey::new(&format!("{}/{}", gateway.namespace, gateway.name))
}

/// Sends each group its changes; returns how many resources changed.
fn publish(update: &Update, lingering: &mut Lingering, snapshots: &Snapshots) -> usize {
    let mut sent = 0;
    for (gateway, group) in &update.groups {
        let key = group_key(gateway);
        sent += group.set.len() + group.remove.len();
        let change = Change { set: group.set.clone(), remove: group.remove.clone() };
        snapshots.publish(&key, lingering.take(&key, change, Instant::now()));
    }
    sent
}

/// Files that cannot be read lack in the first load, and only in that: later ones keep what a broken file held before.
fn source_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// The first full load takes the place of what was restored.
fn replace(translator: &Translator, lingering: &mut Lingering, snapshots: &Snapshots) -> usize {
    let mut sent = 0;
    let mut gone = snapshots.keys();
    gone.retain(|key| *key != limits::group());
    for (gateway, resources) in translator.resources() {
        let key = group_key(&gateway);
        gone.retain(|restored| *restored != key);
        sent += resources.len();
        lingering.begin(&key, &resources);
        snapshots.replace(&key, resources);
    }
    for key in gone {
        snapshots.remove_group(&key);
    }
    sent
}

/// Logs findings that were not there before.
fn report(before: &[Diagnostic], now: &[Diagnostic]) {
    for finding in now.iter().filter(|finding| !before.contains(finding)) {
        let origin = &finding.place.origin;
        let at = match (origin.locate(&finding.place.path), &finding.object) {
            (Some(position), _) => format!("{}:{}:{}", origin.file, position.line, position.column),
            (None, Some(object)) => format!("{} of {object}", finding.place.path),
            (None, None) => origin.file.to_string(),
        };
        let code = finding.code;
        match finding.severity {
            Severity::Error => tracing::error!(code, at, "{}", finding.message),
            Severity::Warning => tracing::warn!(code, at, "{}", finding.message),
            Severity::Info => tracing::debug!(code, at, "{}", finding.message),
        }
    }
}
