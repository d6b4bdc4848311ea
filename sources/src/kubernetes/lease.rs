//! Who leads: one of several, by a Lease that it renews.
//!
//! Clocks of different machines are not compared: a Lease has run out when it was not renewed for its duration, as seen
//! from here.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::reach::{Reach, is_answer};

#[derive(Clone, Debug)]
pub struct LeaseOptions {
    pub namespace: String,
    pub name: String,
    /// Who we are: different for each process.
    pub identity: String,
}

/// Who leads must renew within this time; who waits takes over after it.
const DURATION: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(2);
/// Who could not renew for this long stops, before anybody else begins.
const GIVE_UP: Duration = Duration::from_secs(7);

/// Takes part until `end` is dropped, and then hands over.
pub async fn campaign(
    client: Client,
    options: LeaseOptions,
    reach: Reach,
    leads: watch::Sender<bool>,
    mut end: watch::Receiver<()>,
) {
    let api: Api<Lease> = Api::namespaced(client, &options.namespace);
    let mut seen: Option<Seen> = None;
    let mut renewed: Option<Instant> = None;
    loop {
        let begin = Instant::now();
        let attempt = tokio::time::timeout(GIVE_UP, step(&api, &options, &mut seen)).await;
        match attempt {
            Ok(Ok(ours)) => {
                renewed = ours.then_some(begin);
                reach.answers();
            }
            Ok(Err(error)) if is_answer(&error) => {
                let (lease, namespace) = (&options.name, &options.namespace);
                tracing::warn!(lease, namespace, %error, "cannot be renewed now");
            }
            Ok(Err(error)) => reach.fails(&error),
            Err(late) => reach.fails(&late),
        }
        let leading = renewed.is_some_and(|renewed| renewed.elapsed() < GIVE_UP);
        if leads.send_replace(leading) != leading {
            tracing::info!(
                lease = options.name,
                identity = options.identity,
                "{}",
                if leading { "leads now" } else { "follows now" }
            );
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            ended = end.changed() => if ended.is_err() { break },
        }
    }
    if leads.send_replace(false) {
        hand_over(&api, &options).await;
    }
}

/// The Lease as it was seen last, and when it was first seen so.
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// Takes or renews the Lease when it is ours to take; says whether it is ours.
async fn step(api: &Api<Lease>, options: &LeaseOptions, seen: &mut Option<Seen>) -> kube::Result<bool> {
    let Some(mut lease) = api.get_opt(&options.name).await? else {
        let metadata = ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(taken(options, None)) };
        return won(api.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.take().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder != options.identity && !holder.is_empty() {
        let version = lease.metadata.resource_version.clone();
        let since = match seen.take() {
            Some(before) if before.version == version => before.since,
            _ => Instant::now(),
        };
        *seen = Some(Seen { version, since });
        if since.elapsed() < DURATION {
            return Ok(false);
        }
    }
    lease.spec = Some(taken(options, Some(&spec)));
    // With its resource version: of two who take it, one is told of a conflict.
    won(api.replace(&options.name, &PostParams::default(), &lease).await)
}

fn won(result: kube::Result<Lease>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

fn taken(options: &LeaseOptions, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = Some(MicroTime(Timestamp::now()));
    let ours = before.filter(|before| before.holder_identity.as_deref() == Some(&options.identity));
    let transitions = before.map_or(0, |before| before.lease_transitions.unwrap_or(0) + i32::from(ours.is_none()));
    LeaseSpec {
        holder_identity: Some(options.identity.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: ours.map_or_else(|| now.clone(), |before| before.acquire_time.clone()),
        renew_time: now,
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

/// So that nobody has to wait for us.
async fn hand_over(api: &Api<Lease>, options: &LeaseOptions) {
    let Ok(Some(mut lease)) = api.get_opt(&options.name).await else { return };
    let Some(spec) = lease.spec.as_mut() else { return };
    if spec.holder_identity.as_deref() == Some(&options.identity) {
        spec.holder_identity = Some(String::new());
        if let Err(error) = api.replace(&options.name, &PostParams::default(), &lease).await {
            tracing::debug!(%error, "the lease is not handed over and runs out");
        }
    }
}
