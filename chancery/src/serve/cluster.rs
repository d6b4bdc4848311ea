//! Beside the translation, where the objects are a cluster's: one of the replicas leads, and says in statuses and events
//! what became of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kinds::{Diagnostic, Kind, ObjectId, Severity};
use serde_json::{Value, json};
use sources::Batch;
use sources::kubernetes::{self, Board, LeaseOptions, Reach, Remark, Remarks, Scope, Speaker, WriterOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use translator::{Condition, Deployment, Status, Update};
use xds_server::{Fleet, Rejection, Snapshots};

use super::View;
use super::programmed::Programmed;
use crate::managed::Settings;
use crate::managed::apply::Deployments;
use crate::managed::start::Managed;

/// What a cluster is asked for and told.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub scope: Scope,
    /// The controllers that we are.
    pub controllers: Vec<String>,
    /// None where nothing is to be written.
    pub lease: Option<Lease>,
    /// The Envoys that we run; none where others run them.
    pub envoys: Option<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    /// None for the namespace that we run in.
    pub namespace: Option<String>,
    pub name: String,
    pub identity: String,
}

/// So many statuses a second are written, and so many at once.
const WRITES: (u32, u32) = (100, 400);

/// Who in the cluster hears of a translation.
#[derive(Debug)]
pub(super) struct Audience {
    programmed: Programmed,
    findings: watch::Sender<()>,
    deployments: watch::Sender<Deployments>,
}

impl Audience {
    /// What a translation has changed of statuses and of what runs Gateways, and perhaps of findings.
    pub(super) fn tell(&self, update: Update, findings_changed: bool) {
        self.programmed.tell(update.statuses.into_keys());
        self.deployments.send_if_modified(|all| {
            let first = all.is_none();
            let all = all.get_or_insert_default();
            let changed = !update.deployments.is_empty();
            for (gateway, deployment) in update.deployments {
                match deployment {
                    Some(deployment) => drop(all.insert(gateway, deployment)),
                    None => drop(all.remove(&gateway)),
                }
            }
            first || changed
        });
        if findings_changed {
            self.findings.send_replace(());
        }
    }
}

/// Starts everything that talks with the cluster; it goes on until the other end of `end` is dropped.
pub(super) async fn start(
    cluster: Cluster,
    view: &Arc<ArcSwap<View>>,
    snapshots: &Snapshots,
    fleet: Fleet,
    envoys: Option<Managed>,
    batches: mpsc::Sender<Batch>,
    end: watch::Receiver<()>,
) -> anyhow::Result<(Audience, JoinHandle<()>)> {
    let client = kubernetes::connect().await?;
    let board = Board::default();
    let reach = Reach::default();
    let (findings, found) = watch::channel(());
    let (deployments, deployed) = watch::channel(None);
    let (own, said) = watch::channel(Arc::from("{}"));
    let (heard, others) = watch::channel(kubernetes::Words::new());
    let programmed = Programmed::new(fleet, snapshots.clone(), view.clone(), board.clone(), (own, others));
    let audience = Audience { programmed: programmed.clone(), findings, deployments };
    tokio::spawn(kubernetes::follow(client.clone(), cluster.scope, board.clone(), reach.clone(), batches));
    let Some(lease) = cluster.lease else { return Ok((audience, tokio::spawn(async {}))) };

    let namespace = lease.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let speaker = Speaker {
        controller: cluster.controllers.first().cloned().unwrap_or_default(),
        instance: lease.identity.clone(),
    };
    let (leads, leading) = watch::channel(false);
    let listening = leading.clone();
    let wanted = {
        let (board, view, deployed) = (board.clone(), view.clone(), deployed.clone());
        let programmed = programmed.clone();
        move |id: &ObjectId| {
            let mut status = Status::clone(view.load().statuses.get(id)?);
            if id.kind == Kind::Gateway {
                programmed.overlay(id, &mut status);
                let own = deployed.borrow().as_ref().and_then(|all| all.get(id)).map(|gateway| own_addresses(gateway));
                reached_at(&mut status, board.addresses(id), own.unwrap_or_default());
            }
            Some(status.to_value(id))
        }
    };
    tokio::spawn(programmed.watch());
    let options = WriterOptions { controllers: cluster.controllers, per_second: WRITES.0, burst: WRITES.1 };
    tokio::spawn(kubernetes::write(client.clone(), board.clone(), Arc::new(wanted), options, leading.clone()));
    let remarks = gather(view.clone(), snapshots.clone(), found);
    tokio::spawn(kubernetes::report(client.clone(), board, speaker, remarks, leading.clone()));
    if let Some(envoys) = envoys {
        tokio::spawn(envoys.run(deployed, leading));
    }
    let lease = LeaseOptions { namespace, name: lease.name, identity: lease.identity };
    tokio::spawn(kubernetes::converse(client.clone(), lease.clone(), said, listening, heard));
    Ok((audience, tokio::spawn(kubernetes::campaign(client, lease, reach, leads, end))))
}

/// Keeps together what there is to say: findings about objects, and what Envoys rejected.
fn gather(
    view: Arc<ArcSwap<View>>,
    snapshots: Snapshots,
    mut findings: watch::Receiver<()>,
) -> watch::Receiver<Remarks> {
    let (remarks, received) = watch::channel(Remarks::default());
    tokio::spawn(async move {
        let mut rejections = snapshots.watch_rejections();
        loop {
            tokio::select! {
                changed = findings.changed() => if changed.is_err() { return },
                changed = rejections.changed() => if changed.is_err() { return },
            }
            let mut all: Vec<Remark> = view.load().diagnostics.iter().filter_map(remark).collect();
            all.extend(snapshots.rejections().iter().filter_map(rejected));
            if remarks.send(Arc::new(all)).is_err() {
                return;
            }
        }
    });
    received
}

fn remark(finding: &Diagnostic) -> Option<Remark> {
    if finding.severity == Severity::Info {
        return None;
    }
    let at = if finding.place.path.is_root() { String::new() } else { format!("{}: ", finding.place.path) };
    let help = finding.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let note = format!("{at}{}{help}", finding.message);
    Some(Remark { object: finding.object.clone()?, reason: in_one_word(finding.code), note })
}

fn rejected(rejection: &Rejection) -> Option<Remark> {
    let (namespace, name) = rejection.gateway.as_str().split_once('/')?;
    let object = ObjectId::new(Kind::Gateway, namespace, name);
    let note = format!("Envoy rejects {}: {}", rejection.name, rejection.message);
    Some(Remark { object, reason: "RejectedByEnvoy".to_owned(), note })
}

/// `backend-not-found` is `BackendNotFound`.
fn in_one_word(code: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    code.split('-').map(capital).collect()
}

/// The addresses that a Gateway's author gives it.
fn own_addresses(gateway: &Deployment) -> Vec<Value> {
    let written = gateway.addresses.iter().filter_map(|address| {
        let value = address.value.as_ref().filter(|value| !value.is_empty())?;
        Some(json!({"type": address.kind.as_deref().unwrap_or("IPAddress"), "value": value}))
    });
    written.collect()
}

/// A Gateway behind Services is reached at their addresses, and is not programmed before it has one. Where there are none,
/// it is reached where its author says.
fn reached_at(status: &mut Status, services: Option<Vec<Value>>, own: Vec<Value>) {
    let Some(addresses) = services else {
        status.addresses = own;
        return;
    };
    if addresses.is_empty() {
        let message = "the Service of the Gateway has no address yet";
        for condition in status.conditions.iter_mut().filter(|c| c.kind == "Programmed" && c.holds) {
            *condition = Condition::no("Programmed", "AddressNotAssigned", message);
        }
    }
    status.addresses = addresses;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programmed() -> Status {
        let conditions =
            vec![Condition::yes("Accepted", "Accepted", ""), Condition::yes("Programmed", "Programmed", "")];
        Status { generation: 3, conditions, ..Status::default() }
    }

    fn reached(services: Option<Vec<Value>>, own: Vec<Value>) -> Value {
        let mut status = programmed();
        reached_at(&mut status, services, own);
        status.to_value(&ObjectId::new(Kind::Gateway, "shop", "web"))
    }

    #[test]
    fn a_gateway_without_an_address_is_not_programmed() {
        let address = || json!({"type": "IPAddress", "value": "192.0.2.1"});
        let said = |status: &Value| (status["conditions"][1]["reason"].clone(), status["addresses"][0].clone());
        assert_eq!(said(&reached(None, Vec::new())), (json!("Programmed"), Value::Null));
        assert_eq!(said(&reached(None, vec![address()])), (json!("Programmed"), address()));
        assert_eq!(said(&reached(Some(Vec::new()), vec![address()])), (json!("AddressNotAssigned"), Value::Null));
        assert_eq!(said(&reached(Some(vec![address()]), Vec::new())), (json!("Programmed"), address()));
    }
}
