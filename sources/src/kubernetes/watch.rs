//! One kind followed: listed by pages, then watched; listed again after a long absence or when its history is lost.
//!
//! A listing is compared with what is known: only what has another resource version is read, and what is missing is gone.
//! So a listing costs little, and nothing of what did not change.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kinds::{ObjectId, Origin};
use kube::core::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta, Resource};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::feed::Feed;
use super::reach::{Reach, is_answer};
use super::read::{Read, identity, read};
use super::status::Board;

/// What one task follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Followed {
    pub feed: Feed,
    /// None for all namespaces.
    pub namespace: Option<SmolStr>,
}

/// The resource versions of the objects that are known.
pub(super) type Known = FxHashMap<ObjectId, SmolStr>;

#[derive(Debug)]
pub(super) enum Event {
    Put(Feed, Box<Read>),
    /// An object that is read on demand, with its resource version.
    Noticed(ObjectId, SmolStr),
    Gone(Feed, ObjectId),
    /// A whole listing has been sent.
    Listed(Followed),
    /// The kind is not served any more, at least not in this version.
    Lost(Followed, Known),
}

pub(super) struct Watch {
    pub client: Client,
    pub followed: Followed,
    pub version: &'static str,
    pub labels: Option<String>,
    pub origin: Origin,
    pub board: Board,
    pub reach: Reach,
    pub known: Known,
    pub events: Sender<Event>,
}

/// The listener is gone.
struct Over;

/// How long "not found" is taken for a kind that is on its way.
const ARRIVING: Duration = Duration::from_secs(10);
/// After an absence this long the server may have been set back to an earlier state, from which no watch would tell.
const ABSENCE: Duration = Duration::from_secs(20);
/// Errors this far apart are not one absence.
const APART: Duration = Duration::from_secs(15);
/// The server ends watches after this; a connection that was lost in silence is noticed a little later.
const WATCH_SECONDS: u32 = 120;

impl Watch {
    pub(super) async fn run(mut self) {
        let resource = self.followed.feed.resource(self.version);
        let ended = if self.followed.feed.is_read_on_demand() {
            self.follow::<PartialObjectMeta<DynamicObject>>(&resource).await
        } else {
            self.follow::<DynamicObject>(&resource).await
        };
        if ended.is_ok() {
            let _ = self.events.send(Event::Lost(self.followed, self.known)).await;
        }
    }

    /// Ends well when the kind is not served any more.
    async fn follow<K>(&mut self, resource: &ApiResource) -> Result<(), Over>
    where
        K: Entry + DeserializeOwned + Clone + std::fmt::Debug + Send + 'static,
    {
        let api: Api<K> = K::api(&self.client, self.followed.namespace.as_deref(), resource);
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        config.label_selector.clone_from(&self.labels);
        let mut absence = Absence::default();
        let mut backoff = Backoff::new();
        loop {
            let mut stream = pin!(watcher(api.clone(), config.clone()));
            let mut listing: Option<BTreeSet<ObjectId>> = None;
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => {
                        if !matches!(event, watcher::Event::Init) {
                            absence = Absence::default();
                            backoff.reset();
                            self.reach.answers();
                        }
                        self.take(event, &mut listing).await?;
                    }
                    Err(error) if expired(&error) => {}
                    Err(error) => {
                        if absence.not_found(&error) {
                            return Ok(());
                        }
                        if was_answered(&error) {
                            self.reach.answers();
                        } else {
                            self.reach.fails(&error);
                        }
                        let relist = absence.note(&error, &self.followed, resource) || code(&error) == Some(410);
                        tokio::time::sleep(backoff.pause()).await;
                        if relist {
                            break;
                        }
                    }
                }
                if self.events.is_closed() {
                    return Err(Over);
                }
            }
        }
    }

    async fn take<K: Entry>(
        &mut self,
        event: watcher::Event<K>,
        listing: &mut Option<BTreeSet<ObjectId>>,
    ) -> Result<(), Over> {
        match event {
            watcher::Event::Init => *listing = Some(BTreeSet::new()),
            watcher::Event::InitApply(object) => {
                if let Some(listing) = listing {
                    listing.insert(identity(self.followed.feed, object.meta()));
                }
                self.put(object).await?;
            }
            watcher::Event::Apply(object) => self.put(object).await?,
            watcher::Event::Delete(object) => {
                self.gone(identity(self.followed.feed, object.meta())).await?;
            }
            watcher::Event::InitDone => {
                let listing = listing.take().unwrap_or_default();
                let mut missing: Vec<ObjectId> =
                    self.known.keys().filter(|id| !listing.contains(*id)).cloned().collect();
                missing.sort();
                for id in missing {
                    self.gone(id).await?;
                }
                self.send(Event::Listed(self.followed.clone())).await?;
            }
        }
        Ok(())
    }

    async fn put<K: Entry>(&mut self, object: K) -> Result<(), Over> {
        let id = identity(self.followed.feed, object.meta());
        let version = version_of(object.meta());
        if self.known.get(&id) == Some(&version) {
            return Ok(());
        }
        self.known.insert(id.clone(), version.clone());
        let event = object.event(self, id, version);
        self.send(event).await
    }

    async fn gone(&mut self, id: ObjectId) -> Result<(), Over> {
        self.known.remove(&id);
        self.board.forget(self.followed.feed, &id);
        self.send(Event::Gone(self.followed.feed, id)).await
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over)
    }
}

/// How objects of a kind come: whole, or as their metadata.
trait Entry: Resource<DynamicType = ApiResource> + Sized {
    fn api(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<Self>;
    fn event(self, watch: &Watch, id: ObjectId, version: SmolStr) -> Event;
}

impl Entry for DynamicObject {
    fn api(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<Self> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        }
    }

    fn event(self, watch: &Watch, _: ObjectId, _: SmolStr) -> Event {
        let feed = watch.followed.feed;
        watch.board.note(feed, watch.version, &self);
        Event::Put(feed, Box::new(read(feed, watch.version, self, &watch.origin)))
    }
}

impl Entry for PartialObjectMeta<DynamicObject> {
    fn api(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<Self> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        }
    }

    fn event(self, _: &Watch, id: ObjectId, version: SmolStr) -> Event {
        Event::Noticed(id, version)
    }
}

/// A row of errors with nothing good between them.
#[derive(Debug, Default)]
struct Absence {
    row: Option<Row>,
    not_found_since: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    since: Instant,
    last: Instant,
    said: String,
}

impl Absence {
    /// Whether the kind has not been served for so long that it is not on its way.
    fn not_found(&mut self, error: &watcher::Error) -> bool {
        if code(error) != Some(404) {
            self.not_found_since = None;
            return false;
        }
        self.not_found_since.get_or_insert_with(Instant::now).elapsed() > ARRIVING
    }

    /// Says once what is wrong; true when it is time to list again.
    fn note(&mut self, error: &watcher::Error, followed: &Followed, resource: &ApiResource) -> bool {
        let now = Instant::now();
        let words = error.to_string();
        let row = self.row.take().filter(|row| now.duration_since(row.last) < APART);
        let mut row = row.unwrap_or(Row { since: now, last: now, said: String::new() });
        row.last = now;
        // That there is no answer at all is said once for all kinds.
        if row.said != words && was_answered(error) && code(error) != Some(404) {
            let namespace = followed.namespace.as_deref().unwrap_or("*");
            tracing::warn!(kind = %resource.plural, group = %resource.group, namespace, "cannot be watched now: {words}");
            row.said = words;
        }
        let long = now.duration_since(row.since) > ABSENCE;
        self.row = Some(row);
        long
    }
}

/// The history that a watch asks for is gone: the watcher lists again by itself.
fn expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

fn was_answered(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => is_answer(error),
        _ => true,
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The object as it is now; none when it is gone.
pub(super) async fn fetch(client: &Client, id: &ObjectId) -> kube::Result<Option<DynamicObject>> {
    let feed = Feed::of(id.kind);
    let version = id.kind.info().versions.first().copied().unwrap_or("v1");
    DynamicObject::api(client, Some(&id.namespace), &feed.resource(version)).get_opt(&id.name).await
}

/// The resource version of an object.
pub(super) fn version_of(meta: &ObjectMeta) -> SmolStr {
    SmolStr::new(meta.resource_version.as_deref().unwrap_or_default())
}
