//! Keeps what runs Gateways as it is wanted: applies what changed, removes what is no longer wanted, repairs what others
//! changed. Only the leader writes; every replica watches, so that another one can go on at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kinds::ObjectId;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use translator::Deployment;
use xxhash_rust::xxh3::xxh3_64;

use super::certificates;
use super::identities::Identities;
use super::observe::{self, INSTANCE, Key, Observation, Seen, resource};
use super::{KINDS, Settings, Wanted, objects};

/// The Gateways of ours, as they are wanted; none before the first translation.
pub(crate) type Deployments = Option<BTreeMap<ObjectId, Arc<Deployment>>>;

/// The name under which fields are ours.
pub(super) const MANAGER: &str = "chancery";
/// Requests under way at once.
const PARALLEL: usize = 8;
/// Everything is looked at again after this, whatever was seen.
const ANYWAY: Duration = Duration::from_secs(600);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Changes that come together are applied together.
const SETTLE: Duration = Duration::from_millis(20);

pub(crate) struct Applier {
    pub client: Client,
    pub settings: Settings,
    /// As a label says it.
    pub instance: String,
    pub identities: Option<Identities>,
    pub deployments: watch::Receiver<Deployments>,
    pub leads: watch::Receiver<bool>,
}

/// What was applied: its content, and the generation that it had then.
struct Applied {
    hash: u64,
    generation: Option<i64>,
}

#[derive(Default)]
struct Memory {
    /// As it was when it was last asked.
    led: bool,
    seen: BTreeMap<Key, Seen>,
    /// Kinds of which everything is known.
    listed: BTreeSet<&'static str>,
    applied: BTreeMap<Key, Applied>,
    /// Said once.
    reasons: BTreeMap<ObjectId, String>,
}

impl Applier {
    /// Runs until the translation ends.
    pub(crate) async fn run(mut self) {
        let (observations, mut observed) = mpsc::unbounded_channel();
        observe::start(&self.client, &self.instance, &observations);
        let mut memory = Memory::default();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                changed = self.deployments.changed() => if changed.is_err() { return },
                changed = self.leads.changed() => if changed.is_err() { return },
                Some(observation) = observed.recv() => memory.take(observation),
                () = tokio::time::sleep_until(wake) => memory.applied.clear(),
            }
            tokio::time::sleep(SETTLE).await;
            while let Ok(observation) = observed.try_recv() {
                memory.take(observation);
            }
            let leads = *self.leads.borrow_and_update();
            if leads && !memory.led {
                // Another one may have led in between: what it applied is not known.
                memory.applied.clear();
            }
            memory.led = leads;
            let Some(deployments) = self.deployments.borrow_and_update().clone().filter(|_| leads) else {
                wake = Instant::now() + ANYWAY;
                continue;
            };
            let whole = self.reconcile(&deployments, &mut memory).await;
            wake = Instant::now() + if whole { self.anyway() } else { RETRY };
        }
    }

    /// Certificates that last for less are looked at more often.
    fn anyway(&self) -> Duration {
        self.identities.as_ref().map_or(ANYWAY, |identities| ANYWAY.min(identities.look()))
    }

    /// True when everything is as it is wanted.
    async fn reconcile(&self, deployments: &BTreeMap<ObjectId, Arc<Deployment>>, memory: &mut Memory) -> bool {
        let mut wanted: BTreeMap<Key, Value> = BTreeMap::new();
        let mut left_alone = BTreeSet::new();
        let mut whole = true;
        let managed = deployments.iter().filter(|(_, deployment)| deployment.managed);
        for (gateway, deployment) in managed {
            match objects(gateway, deployment, &self.settings) {
                Wanted::Objects(objects) => {
                    memory.reasons.remove(gateway);
                    for mut object in objects {
                        object["metadata"]["labels"][INSTANCE] = Value::from(self.instance.as_str());
                        if let Some(key) = key_of(&object) {
                            wanted.insert(key, object);
                        }
                    }
                    match self.identity(gateway, deployment, memory).await {
                        Ok(Some((key, secret))) => drop(wanted.insert(key, secret)),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%error, %gateway, "the identity of its Envoys cannot be made");
                            whole = false;
                            left_alone.insert(gateway.clone());
                        }
                    }
                }
                Wanted::Unchanged(reason) => {
                    left_alone.insert(gateway.clone());
                    if memory.reasons.get(gateway) != Some(&reason) {
                        tracing::warn!(%gateway, reason, "its Envoys are left as they are");
                        memory.reasons.insert(gateway.clone(), reason);
                    }
                }
            }
        }
        whole &= self.remove(&wanted, &left_alone, memory).await;
        whole & self.apply(wanted, memory).await
    }

    /// The Secret of a Gateway's Envoys, unless the one that is there is good.
    async fn identity(
        &self,
        gateway: &ObjectId,
        deployment: &Deployment,
        memory: &mut Memory,
    ) -> anyhow::Result<Option<(Key, Value)>> {
        let Some(identities) = &self.identities else { return Ok(None) };
        let mut secret = super::identity_secret(gateway, deployment);
        secret["metadata"]["labels"][INSTANCE] = Value::from(self.instance.as_str());
        let Some(key) = key_of(&secret) else { return Ok(None) };
        let now = OffsetDateTime::now_utc();
        // Looked at anew when nothing is remembered: at first, and at intervals.
        if !memory.applied.contains_key(&key) {
            let api = self.api(&key);
            let there = match &api {
                Some(api) => api.get_opt(&key.name).await?,
                None => None,
            };
            secret["data"] = identities.data_for(
                &certificates::identity(gateway),
                there.as_ref().map(|object| &object.data["data"]),
                now,
            )?;
            return Ok(Some((key, secret)));
        }
        // Wanted as it was applied, so that it is not removed.
        secret["data"] = Value::Null;
        Ok(Some((key, secret)))
    }

    async fn remove(
        &self,
        wanted: &BTreeMap<Key, Value>,
        left_alone: &BTreeSet<ObjectId>,
        memory: &mut Memory,
    ) -> bool {
        if memory.listed.len() < KINDS.len() {
            return true;
        }
        let unwanted = |(key, seen): &(&Key, &Seen)| !wanted.contains_key(*key) && !left_alone.contains(&seen.gateway);
        let gone: Vec<Key> = memory.seen.iter().filter(unwanted).map(|(key, _)| key.clone()).collect();
        let mut whole = true;
        for key in gone {
            let Some(api) = self.api(&key) else { continue };
            match api.delete(&key.name, &DeleteParams::background()).await {
                Ok(_) => tracing::info!(kind = key.kind, namespace = key.namespace, name = key.name, "removed"),
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(%error, kind = key.kind, name = key.name, "cannot be removed");
                    whole = false;
                    continue;
                }
            }
            memory.seen.remove(&key);
            memory.applied.remove(&key);
        }
        whole
    }

    async fn apply(&self, wanted: BTreeMap<Key, Value>, memory: &mut Memory) -> bool {
        let mut todo: Vec<(Key, Value, u64)> = Vec::new();
        for (key, object) in wanted {
            // A Secret whose content is left out is there already.
            let known = object.get("data").is_some_and(Value::is_null);
            let hash = xxh3_64(object.to_string().as_bytes());
            let applied = memory.applied.get(&key);
            let changed_by_others = applied
                .zip(memory.seen.get(&key))
                .is_some_and(|(applied, seen)| applied.generation.is_some() && seen.generation > applied.generation);
            if !known && (applied.is_none_or(|applied| applied.hash != hash) || changed_by_others) {
                todo.push((key, object, hash));
            }
        }
        // What a workload mounts comes before it.
        let rank = |key: &Key| KINDS.iter().position(|(_, kind, _)| *kind == key.kind).unwrap_or(0);
        todo.sort_by_key(|(key, ..)| rank(key));
        let mut whole = true;
        let mut results = futures::stream::iter(todo.into_iter().map(|(key, object, hash)| async move {
            let made = self.put(&key, &object).await;
            (key, hash, made)
        }))
        .buffered(PARALLEL);
        while let Some((key, hash, made)) = results.next().await {
            match made {
                Ok(generation) => {
                    tracing::info!(kind = key.kind, namespace = key.namespace, name = key.name, "applied");
                    memory.applied.insert(key, Applied { hash, generation });
                }
                Err(error) => {
                    tracing::warn!(%error, kind = key.kind, namespace = key.namespace, name = key.name, "cannot be applied");
                    whole = false;
                }
            }
        }
        whole
    }

    async fn put(&self, key: &Key, object: &Value) -> kube::Result<Option<i64>> {
        let Some(api) = self.api(key) else { return Ok(None) };
        let params = PatchParams::apply(MANAGER).force();
        let made: DynamicObject = api.patch(&key.name, &params, &Patch::Apply(object)).await?;
        Ok(made.metadata.generation)
    }

    fn api(&self, key: &Key) -> Option<Api<DynamicObject>> {
        let (version, kind, plural) = KINDS.into_iter().find(|(_, kind, _)| *kind == key.kind)?;
        Some(Api::namespaced_with(self.client.clone(), &key.namespace, &resource(version, kind, plural)))
    }
}

impl Memory {
    fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Is(key, seen) => drop(self.seen.insert(key, seen)),
            Observation::Gone(key) => {
                self.seen.remove(&key);
                self.applied.remove(&key);
            }
            Observation::Listed(kind, keys) => {
                self.listed.insert(kind);
                let keys: BTreeSet<Key> = keys.into_iter().collect();
                self.seen.retain(|key, _| key.kind != kind || keys.contains(key));
                self.applied.retain(|key, _| key.kind != kind || keys.contains(key));
            }
        }
    }
}

fn key_of(object: &Value) -> Option<Key> {
    let kind = object["kind"].as_str()?;
    let (_, kind, _) = KINDS.into_iter().find(|(_, known, _)| *known == kind)?;
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    Some(Key { kind, namespace: text("namespace")?, name: text("name")? })
}
