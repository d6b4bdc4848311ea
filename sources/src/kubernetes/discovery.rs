//! Which kinds the API server has, in which version.
//!
//! A kind may come while we run: its definition is seen first, and is served about two seconds later. So definitions are
//! watched, and while one is there that is not served, the server is asked again at short intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::feed::Feed;
use super::reach::{Reach, is_answer};

/// What is served now.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The newest version that both sides know.
    pub versions: BTreeMap<Feed, &'static str>,
    /// Every kind whose definition is there is served, or will not be for reasons of its own.
    pub complete: bool,
    /// The definitions that are there; none when they may not be looked at.
    pub definitions: Option<BTreeSet<String>>,
}

/// While a definition is not served yet.
const SOON: Duration = Duration::from_millis(500);
/// A definition that is not served after this is broken, or has no version that is known here.
const PATIENCE: Duration = Duration::from_secs(20);
/// Definitions are watched: this is for what the watch may miss.
const ANYWAY: Duration = Duration::from_secs(60);
/// Definitions may not be watched: then the server is asked for what it serves.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Sends what is served whenever that may have changed, and when asked to look again. Ends when nobody listens.
pub(super) async fn follow(client: Client, reach: Reach, again: Arc<Notify>, served: mpsc::Sender<Served>) {
    let (known, mut definitions) = watch::channel(None);
    let watching = tokio::spawn(watch_definitions(client.clone(), known));
    // The first look waits for the definitions, so that it can tell whether what is served is all there is.
    let _ = tokio::time::timeout(PATIENCE, definitions.wait_for(Option::is_some)).await;
    let mut backoff = Backoff::new();
    let mut incomplete_since: Option<Instant> = None;
    loop {
        let present = definitions.borrow_and_update().clone().flatten();
        let pause = match versions(&client).await {
            Ok(versions) => {
                backoff.reset();
                reach.answers();
                let missing = present.as_ref().is_some_and(|present| lacks(present, &versions));
                let since = *incomplete_since.get_or_insert_with(Instant::now);
                if !missing {
                    incomplete_since = None;
                }
                let complete = !missing || since.elapsed() > PATIENCE;
                let pause = match (&present, complete) {
                    (_, false) => SOON,
                    (Some(_), true) => ANYWAY,
                    (None, true) => UNWATCHED,
                };
                let definitions = present.map(|present| present.into_keys().collect());
                if served.send(Served { versions, complete, definitions }).await.is_err() {
                    break;
                }
                pause
            }
            Err(error) => {
                if is_answer(&error) {
                    tracing::warn!(%error, "the API server does not say what it serves");
                } else {
                    reach.fails(&error);
                }
                backoff.pause()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Without a sender there is nothing more to hear, and the other branches go on.
            Ok(()) = definitions.changed() => incomplete_since = None,
            () = again.notified() => {}
            () = served.closed() => break,
        }
    }
    watching.abort();
}

/// Definitions by name, each with the version of its own text.
type Definitions = BTreeMap<String, String>;

fn lacks(present: &Definitions, versions: &BTreeMap<Feed, &'static str>) -> bool {
    let served: BTreeSet<String> = versions.keys().filter_map(|feed| feed.definition()).collect();
    present.keys().any(|name| !served.contains(name))
}

async fn versions(client: &Client) -> kube::Result<BTreeMap<Feed, &'static str>> {
    let groups = client.list_api_groups_aggregated().await?;
    let offered: BTreeSet<(String, String, String)> = groups
        .items
        .into_iter()
        .flat_map(|group| {
            let name = group.metadata.and_then(|meta| meta.name).unwrap_or_default();
            group.versions.into_iter().flat_map(move |offered| {
                let (name, version) = (name.clone(), offered.version.unwrap_or_default());
                let plurals = offered.resources.into_iter().filter_map(|resource| resource.resource);
                plurals.map(move |plural| (name.clone(), version.clone(), plural))
            })
        })
        .collect();
    let newest = |feed: Feed| {
        let info = feed.kind.info();
        let is_offered = |version: &str| {
            let wanted = (feed.group().to_owned(), version.to_owned(), info.plural.to_owned());
            // The core group has one version and is not listed among the others.
            feed.group().is_empty() || offered.contains(&wanted)
        };
        info.versions.iter().copied().find(|version| is_offered(version)).map(|version| (feed, version))
    };
    Ok(Feed::all().into_iter().filter_map(newest).collect())
}

/// Keeps the definitions of our kinds that are there: `Some(None)` when they may not be watched.
async fn watch_definitions(client: Client, known: watch::Sender<Option<Option<Definitions>>>) {
    let ours: BTreeSet<String> = Feed::all().into_iter().filter_map(Feed::definition).collect();
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions");
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut present = Definitions::new();
    let mut listed = false;
    let mut backoff = Backoff::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => present.clear(),
            Ok(Event::InitDone) => listed = true,
            Ok(Event::InitApply(definition) | Event::Apply(definition)) => {
                let name = definition.name_any();
                if ours.contains(&name) {
                    // The generation counts changes of what is defined, and not those of its status.
                    present.insert(name, definition.metadata.generation.unwrap_or(0).to_string());
                }
                backoff.reset();
            }
            Ok(Event::Delete(definition)) => drop(present.remove(&definition.name_any())),
            Err(error) if is_forbidden(&error) => {
                tracing::info!("definitions of kinds may not be watched: a new kind is noticed within {UNWATCHED:?}");
                let _ = known.send(Some(None));
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "definitions of kinds cannot be watched now");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
        if listed {
            let now = Some(Some(present.clone()));
            known.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_forbidden(),
        _ => false,
    }
}
