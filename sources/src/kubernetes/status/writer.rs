//! Writes statuses, by server-side apply, as long as we lead.
//!
//! An object is looked at when what is to be said of it has changed, and when somebody else wrote its status. It is written
//! only when what it holds does not say what is wanted. So there comes an end to writing, whatever others do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::jiff::{Timestamp, Unit};
use kinds::ObjectId;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::board::{Board, Held};
use super::pace::Pace;
use super::shape::{self, Shape};

/// What is to be said of an object, without times; none when nothing is.
pub trait Wanted: Send + Sync + 'static {
    fn status(&self, id: &ObjectId) -> Option<Value>;
}

impl<F: Fn(&ObjectId) -> Option<Value> + Send + Sync + 'static> Wanted for F {
    fn status(&self, id: &ObjectId) -> Option<Value> {
        self(id)
    }
}

#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The controllers whose entries are ours; the first is the name under which we own fields.
    pub controllers: Vec<String>,
    pub per_second: u32,
    pub burst: u32,
}

/// Writes at the same time.
const AT_ONCE: usize = 8;
/// After somebody else wrote in between, or the server could not.
const AGAIN: Duration = Duration::from_millis(300);
const AGAIN_LATER: Duration = Duration::from_secs(10);

/// Writes whenever `leads` holds. Ends when its other end is dropped.
pub async fn write(
    client: Client,
    board: Board,
    wanted: Arc<dyn Wanted>,
    options: WriterOptions,
    mut leads: watch::Receiver<bool>,
) {
    let mut pace = Pace::new(options.per_second, options.burst);
    let manager: Arc<str> = options.controllers.first().map(String::as_str).unwrap_or("chancery").into();
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        board.all_dirty();
        // What was tried is known only to the one who leads now.
        let mut tried: FxHashMap<ObjectId, Tried> = FxHashMap::default();
        let mut waiting: BTreeSet<ObjectId> = BTreeSet::new();
        let mut busy: BTreeSet<ObjectId> = BTreeSet::new();
        let mut writes = FuturesUnordered::new();
        while *leads.borrow() {
            while writes.len() < AT_ONCE {
                let Some(id) = waiting.iter().find(|id| !busy.contains(*id)).cloned() else { break };
                waiting.remove(&id);
                tokio::task::consume_budget().await;
                let Some((held, attempt)) = attempt(&id, &board, &*wanted, &options.controllers, tried.get(&id)) else {
                    continue;
                };
                let wait = pace.take(Instant::now());
                busy.insert(id.clone());
                writes.push(apply(client.clone(), manager.clone(), id, held, attempt, wait));
            }
            tokio::select! {
                () = board.touched() => waiting.extend(board.take_dirty()),
                Some(written) = writes.next() => {
                    busy.remove(&written.id);
                    note(written, &board, &mut tried);
                }
                changed = leads.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// A status to write.
struct Attempt {
    status: Value,
    /// What was wanted, for comparing.
    wanted: u64,
}

/// What was written last, and what the object held then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tried {
    wanted: u64,
    held: u64,
}

struct Written {
    id: ObjectId,
    held: Held,
    wanted: u64,
    result: kube::Result<DynamicObject>,
}

fn attempt(
    id: &ObjectId,
    board: &Board,
    wanted: &dyn Wanted,
    ours: &[String],
    tried: Option<&Tried>,
) -> Option<(Held, Attempt)> {
    let shape = shape::of(id.kind)?;
    let held = board.held(id)?;
    let wanted = wanted.status(id);
    let status: Value = serde_json::from_str(&held.status).unwrap_or_default();
    let now = Timestamp::now().round(Unit::Second).unwrap_or_default().to_string();
    let digest = xxh3_64(wanted.as_ref().map(Value::to_string).unwrap_or_default().as_bytes());
    let wanted_otherwise = tried.is_some_and(|tried| tried.wanted != digest);
    let from = shape::Held { status: &status, ours, now: &now, wanted_otherwise };
    let next = shape::next(shape, wanted.as_ref(), &from)?;
    let same = Tried { wanted: digest, held: xxh3_64(held.status.as_bytes()) };
    // It was written, and this is what the server made of it.
    if tried == Some(&same) {
        return None;
    }
    Some((held, Attempt { status: next, wanted: digest }))
}

async fn apply(
    client: Client,
    manager: Arc<str>,
    id: ObjectId,
    held: Held,
    attempt: Attempt,
    wait: Duration,
) -> Written {
    tokio::time::sleep(wait).await;
    let resource = held.feed.resource(held.version);
    let api: Api<DynamicObject> = if id.namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &id.namespace, &resource)
    };
    // The object may have been deleted and made anew since; then this is not its status.
    let mut metadata = json!({"name": id.name, "uid": held.uid});
    if matches!(shape::of(id.kind), Some(Shape::Signed(..))) {
        // The list is written as a whole: nobody else's entry may have come in between.
        metadata["resourceVersion"] = held.resource_version.as_str().into();
    }
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": attempt.status,
    });
    let parameters = PatchParams::apply(&manager).force();
    let result = api.patch_status(&id.name, &parameters, &Patch::Apply(object)).await;
    Written { id, held, wanted: attempt.wanted, result }
}

fn note(written: Written, board: &Board, tried: &mut FxHashMap<ObjectId, Tried>) {
    let Written { id, held, wanted, result } = written;
    match result {
        Ok(object) => {
            board.note(held.feed, held.version, &object);
            let status = board.held(&id).map(|held| held.status).unwrap_or_default();
            tried.insert(id, Tried { wanted, held: xxh3_64(status.as_bytes()) });
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {
            // The object is gone, or its kind has no status: it is tried anew when it changes.
            tried.insert(id, Tried { wanted, held: xxh3_64(held.status.as_bytes()) });
        }
        Err(kube::Error::Api(status)) if status.code == 409 => look_again(board, id, AGAIN),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
            tracing::error!(object = %id, "its status is refused: {}", status.message);
            tried.insert(id, Tried { wanted, held: xxh3_64(held.status.as_bytes()) });
        }
        Err(error) => {
            tracing::warn!(object = %id, %error, "its status cannot be written now");
            look_again(board, id, AGAIN_LATER);
        }
    }
}

fn look_again(board: &Board, id: ObjectId, after: Duration) {
    let board = board.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        board.changed([id]);
    });
}
