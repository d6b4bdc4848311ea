//! Events: what a person must see who looks at an object and not at our logs.
//!
//! The name of an Event is made of what it says. So it is written once, whoever leads and however often we start; the API
//! server forgets it after its own time, and then what is still so is said once more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kinds::ObjectId;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::status::{Board, Pace};

/// Something to say about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub object: ObjectId,
    /// In one word.
    pub reason: String,
    pub note: String,
}

/// Everything that there is to say now.
pub type Remarks = Arc<Vec<Remark>>;

/// Who says it.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub controller: String,
    pub instance: String,
}

const PER_SECOND: u32 = 5;
const BURST: u32 = 50;
/// As long as an API server keeps Events, unless it is told otherwise.
const KEPT: Duration = Duration::from_secs(3600);
/// The lengths that the API takes, with room for what is put to a name.
const LONGEST_NOTE: usize = 1000;
const LONGEST_NAME: usize = 230;

/// Says what is new among the remarks, whenever `leads` holds. Ends when one of the other ends is dropped.
pub async fn report(
    client: Client,
    board: Board,
    speaker: Speaker,
    mut remarks: watch::Receiver<Remarks>,
    mut leads: watch::Receiver<bool>,
) {
    let mut pace = Pace::new(PER_SECOND, BURST);
    let mut said: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        let now = remarks.borrow_and_update().clone();
        let names: Vec<String> = now.iter().map(name).collect();
        said.retain(|name, since| since.elapsed() < KEPT && names.contains(name));
        for (remark, name) in now.iter().zip(names) {
            if said.contains_key(&name) {
                continue;
            }
            // What is known of an object that is not there any more?
            let Some(regarding) = board.reference(&remark.object) else { continue };
            tokio::time::sleep(pace.take(Instant::now())).await;
            if !*leads.borrow() || remarks.has_changed().unwrap_or(true) {
                break;
            }
            match say(&client, &speaker, remark, name.clone(), regarding).await {
                Ok(()) => drop(said.insert(name, Instant::now())),
                Err(error) => tracing::warn!(object = %remark.object, %error, "an Event cannot be written now"),
            }
        }
        tokio::select! {
            changed = remarks.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(KEPT / 4) => {}
        }
    }
}

fn name(remark: &Remark) -> String {
    let words = format!("{:?} {} {}", remark.object, remark.reason, remark.note);
    let about: String = remark.object.name.chars().take(LONGEST_NAME).collect();
    format!("{about}.{:016x}", xxh3_64(words.as_bytes()))
}

async fn say(
    client: &Client,
    speaker: &Speaker,
    remark: &Remark,
    name: String,
    regarding: ObjectReference,
) -> kube::Result<()> {
    let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let event = Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some("Warning".to_owned()),
        reason: Some(remark.reason.clone()),
        note: Some(remark.note.chars().take(LONGEST_NOTE).collect()),
        action: Some("Translate".to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(speaker.controller.clone()),
        reporting_instance: Some(speaker.instance.chars().take(128).collect()),
        ..Event::default()
    };
    match Api::<Event>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        // Said before, by us or by who led before us.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}
