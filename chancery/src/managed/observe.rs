//! What there is of ours in the cluster, by labels: to find what is no longer wanted and what somebody else changed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kinds::{Kind, ObjectId};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::UnboundedSender;

use super::KINDS;
use super::names::{GATEWAY_NAME, MANAGED_BY};

/// One of our objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The Gateway that it belongs to.
    pub gateway: ObjectId,
    pub generation: Option<i64>,
}

pub(crate) enum Observation {
    Is(Key, Seen),
    Gone(Key),
    /// A kind was listed as a whole: what was not named is not there.
    Listed(&'static str, Vec<Key>),
}

/// The label of the control plane whose objects these are: several may share a cluster.
pub(crate) const INSTANCE: &str = "chancery.dev/instance";

const PAUSE: Duration = Duration::from_secs(2);

pub(crate) fn resource(version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Starts a watch for each kind; they end when nobody listens.
pub(crate) fn start(client: &Client, instance: &str, observations: &UnboundedSender<Observation>) {
    for (version, kind, plural) in KINDS {
        let resource = resource(version, kind, plural);
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        let labels = format!("{}={},{GATEWAY_NAME},{INSTANCE}={instance}", MANAGED_BY.0, MANAGED_BY.1);
        tokio::spawn(follow(api, kind, labels, observations.clone()));
    }
}

async fn follow(
    api: Api<PartialObjectMeta<DynamicObject>>,
    kind: &'static str,
    labels: String,
    observations: UnboundedSender<Observation>,
) {
    let mut stream = pin!(watcher::watcher(api, watcher::Config::default().labels(&labels)));
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        let sent = match event {
            Ok(Event::Init) => {
                listed.clear();
                Ok(())
            }
            Ok(Event::InitApply(object)) => match read(kind, &object) {
                Some((key, seen)) => {
                    listed.push(key.clone());
                    observations.send(Observation::Is(key, seen))
                }
                None => Ok(()),
            },
            Ok(Event::InitDone) => observations.send(Observation::Listed(kind, std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => match read(kind, &object) {
                Some((key, seen)) => observations.send(Observation::Is(key, seen)),
                None => Ok(()),
            },
            Ok(Event::Delete(object)) => observations.send(Observation::Gone(key(kind, &object))),
            Err(error) => {
                tracing::debug!(%error, kind, "what is managed cannot be watched now");
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn key(kind: &'static str, object: &PartialObjectMeta<DynamicObject>) -> Key {
    Key { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn read(kind: &'static str, object: &PartialObjectMeta<DynamicObject>) -> Option<(Key, Seen)> {
    let key = key(kind, object);
    let owner = object.owner_references().iter().find(|owner| owner.kind == "Gateway")?;
    let seen = Seen {
        gateway: ObjectId::new(Kind::Gateway, key.namespace.as_str(), owner.name.as_str()),
        generation: object.metadata.generation,
    };
    Some((key, seen))
}
