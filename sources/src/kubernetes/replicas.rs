//! What replicas tell each other: some words each, in a Lease of its own beside the one that decides who leads.
//!
//! Only who leads listens. As with that Lease, clocks of different machines are not compared: a replica is gone when its
//! Lease was not renewed for its duration, as seen from here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::lease::LeaseOptions;
use super::reach::is_answer;

/// By the identities of those who said them.
pub type Words = BTreeMap<String, Arc<str>>;

const REPLICA_OF: &str = "chancery.dev/replica-of";
const WORDS: &str = "chancery.dev/words";
const MANAGER: &str = "chancery-replica";

const RENEW: Duration = Duration::from_secs(8);
const DURATION: Duration = Duration::from_secs(20);
/// A Lease that nobody renews is taken away after this.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How soon new words are said, and how often others are listened to.
const TURN: Duration = Duration::from_millis(500);

/// Says `own` words whenever they change, and hears those of others while `leading`. Ends when nobody hears any more.
pub async fn converse(
    client: Client,
    options: LeaseOptions,
    own: watch::Receiver<Arc<str>>,
    leading: watch::Receiver<bool>,
    heard: watch::Sender<Words>,
) {
    let api: Api<Lease> = Api::namespaced(client, &options.namespace);
    let mut said: Option<(Arc<str>, Instant)> = None;
    let mut seen = BTreeMap::new();
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !heard.is_closed() {
        turns.tick().await;
        let words = own.borrow().clone();
        let due = said.as_ref().is_none_or(|(before, at)| *before != words || at.elapsed() >= RENEW);
        if due && told(say(&api, &options, &words).await, &options) {
            said = Some((words, Instant::now()));
        }
        if *leading.borrow()
            && let Ok(others) = listen(&api, &options, &mut seen).await
        {
            heard.send_if_modified(|before| {
                let changed = *before != others;
                *before = others;
                changed
            });
        }
    }
}

/// Whether it worked. That the server is away is said elsewhere.
fn told(result: kube::Result<()>, options: &LeaseOptions) -> bool {
    if let Err(error) = &result
        && is_answer(error)
    {
        tracing::warn!(lease = name(options), %error, "other replicas do not hear how the Envoys here stand");
    }
    result.is_ok()
}

fn name(options: &LeaseOptions) -> String {
    format!("{}-{:016x}", options.name, xxh3_64(options.identity.as_bytes()))
}

async fn say(api: &Api<Lease>, options: &LeaseOptions, words: &str) -> kube::Result<()> {
    let name = name(options);
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some([(REPLICA_OF.to_owned(), options.name.clone())].into()),
            annotations: Some([(WORDS.to_owned(), words.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(options.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&lease)).await.map(drop)
}

/// A replica's Lease as it was seen last, and when it was first seen so.
struct Seen {
    version: Option<String>,
    since: Instant,
}

async fn listen(api: &Api<Lease>, options: &LeaseOptions, seen: &mut BTreeMap<String, Seen>) -> kube::Result<Words> {
    let all = api.list(&ListParams::default().labels(&format!("{REPLICA_OF}={}", options.name))).await?;
    let mut words = Words::new();
    let mut still_seen = BTreeMap::new();
    for mut lease in all {
        let name = lease.metadata.name.take().unwrap_or_default();
        let version = lease.metadata.resource_version.take();
        let since = match seen.remove(&name) {
            Some(before) if before.version == version => before.since,
            _ => Instant::now(),
        };
        let silent = since.elapsed();
        if silent >= FORGOTTEN {
            // Another may have taken it away, or not yet; next time it is looked at again.
            let _ = api.delete(&name, &DeleteParams::default()).await;
        }
        still_seen.insert(name, Seen { version, since });
        let identity = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        if silent < DURATION && identity != options.identity {
            let said = lease.metadata.annotations.and_then(|mut all| all.remove(WORDS)).unwrap_or_default();
            words.insert(identity, said.into());
        }
    }
    *seen = still_seen;
    Ok(words)
}
