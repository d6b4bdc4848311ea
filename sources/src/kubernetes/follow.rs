//! Everything together: starts a watch for each kind that is served, and turns what they say into batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use kinds::{Kind, ObjectId, Origin};
use kube::Client;
use smol_str::SmolStr;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Scope;
use super::backoff::Backoff;
use super::discovery::{self, Served};
use super::feed::Feed;
use super::reach::{Reach, is_answer};
use super::read::{Read, read};
use super::status::Board;
use super::store::Store;
use super::watch::{self, Event, Followed, Known, Watch};
use crate::Batch;

/// One edit is over when nothing happened for this long.
const QUIET: Duration = Duration::from_millis(4);
/// Many objects at once are one `kubectl apply`: it is over when nothing happened for longer.
const BULK: usize = 4;
const BULK_QUIET: Duration = Duration::from_millis(25);
/// However busy the server, what changed is told after this.
const CAP: Duration = Duration::from_millis(500);
/// Events that wait to be taken; the watches wait when there are more.
const QUEUE: usize = 256;
/// Secrets and ConfigMaps that are read at the same time.
const FETCHES: usize = 16;

/// Delivers the first state of the server, then every change. Ends when nobody listens any more.
pub async fn follow(client: Client, scope: Scope, board: Board, reach: Reach, batches: mpsc::Sender<Batch>) {
    let again = Arc::new(Notify::new());
    let (events, mut received) = mpsc::channel(QUEUE);
    let (serves, mut served) = mpsc::channel(1);
    let mut follower = Follower {
        client: client.clone(),
        scope,
        origin: Origin::without_text("kubernetes"),
        board,
        reach,
        events,
        again: again.clone(),
        tasks: JoinSet::new(),
        store: Store::default(),
        following: BTreeMap::new(),
        lost: BTreeMap::new(),
        unlisted: BTreeSet::new(),
        complete: false,
        definitions: None,
        fetches: FuturesUnordered::new(),
    };
    follower.tasks.spawn(discovery::follow(client, follower.reach.clone(), again, serves));
    let mut settling = Settling::default();
    let mut told = false;
    loop {
        tokio::select! {
            Some(event) = received.recv() => {
                follower.take(event);
                // What waits already is one wave with it.
                while let Ok(event) = received.try_recv() {
                    follower.take(event);
                }
            }
            Some(now) = served.recv() => follower.serve(now),
            Some((id, read)) = follower.fetches.next() => follower.store.fetched(&id, read),
            () = settling.over() => {
                settling = Settling::default();
                let batch = follower.store.batch();
                if batches.send(batch).await.is_err() {
                    return;
                }
                told = true;
            }
            () = batches.closed() => return,
        }
        follower.fetch();
        if follower.is_whole() && (follower.store.has_changed() || !told) {
            settling.touch(follower.store.touched());
        } else {
            settling = Settling::default();
        }
    }
}

struct Follower {
    client: Client,
    scope: Scope,
    origin: Origin,
    board: Board,
    reach: Reach,
    events: mpsc::Sender<Event>,
    again: Arc<Notify>,
    tasks: JoinSet<()>,
    store: Store,
    /// What is followed, in which version.
    following: BTreeMap<Followed, &'static str>,
    /// What was followed and is not served: what is held of it.
    lost: BTreeMap<Followed, Known>,
    /// Of the kinds that were there at the start, those that are not listed yet.
    unlisted: BTreeSet<Followed>,
    /// Whether the kinds that were there at the start are all known.
    complete: bool,
    definitions: Option<BTreeSet<String>>,
    fetches: FuturesUnordered<BoxFuture<'static, Fetched>>,
}

/// The content of an object, with its version; none when it is gone.
type Fetched = (ObjectId, Option<(SmolStr, Read)>);

impl Follower {
    /// Whether what is held is a whole: everything listed, everything read.
    fn is_whole(&self) -> bool {
        self.complete && self.unlisted.is_empty() && self.fetches.is_empty()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Put(feed, read) => self.store.put(feed, *read),
            Event::Noticed(id, version) => self.store.notice(id, version),
            Event::Gone(feed, id) => self.store.remove(feed, &id),
            Event::Listed(followed) => drop(self.unlisted.remove(&followed)),
            Event::Lost(followed, known) => {
                tracing::info!(kind = %followed.feed.kind, group = followed.feed.group(), "is not served any more");
                self.unlisted.remove(&followed);
                self.following.remove(&followed);
                self.lost.insert(followed, known);
                self.again.notify_one();
            }
        }
    }

    fn serve(&mut self, served: Served) {
        self.definitions = served.definitions;
        let pools = served.versions.keys().any(|feed| feed.kind == Kind::InferencePool);
        for (feed, version) in served.versions {
            // Nothing but a pool selects pods, and there are more of them than of anything else.
            if feed.kind == Kind::Pod && !pools {
                continue;
            }
            for followed in self.followed(feed) {
                if !self.following.contains_key(&followed) {
                    self.start(followed, version);
                }
            }
        }
        self.complete |= served.complete;
        self.drop_undefined();
    }

    fn followed(&self, feed: Feed) -> Vec<Followed> {
        let everywhere = !feed.kind.info().namespaced || self.scope.namespaces.is_empty();
        if everywhere {
            return vec![Followed { feed, namespace: None }];
        }
        let within = |namespace: &SmolStr| Followed { feed, namespace: Some(namespace.clone()) };
        self.scope.namespaces.iter().map(within).collect()
    }

    fn start(&mut self, followed: Followed, version: &'static str) {
        let feed = followed.feed;
        if !self.complete {
            self.unlisted.insert(followed.clone());
        } else if !feed.is_built_in() {
            tracing::info!(kind = %feed.kind, group = feed.group(), version, "is served now");
        }
        let labelled = !feed.is_built_in() && feed.kind != Kind::GatewayClass;
        let watch = Watch {
            client: self.client.clone(),
            followed: followed.clone(),
            version,
            labels: self.scope.labels.clone().filter(|_| labelled),
            origin: self.origin.clone(),
            board: self.board.clone(),
            reach: self.reach.clone(),
            known: self.lost.remove(&followed).unwrap_or_default(),
            events: self.events.clone(),
        };
        self.tasks.spawn(watch.run());
        self.following.insert(followed, version);
    }

    /// Objects of a kind whose definition was removed are gone with it. That a kind is merely not served proves nothing:
    /// a server that starts serves its kinds one by one.
    fn drop_undefined(&mut self) {
        let Some(definitions) = &self.definitions else { return };
        let undefined = |feed: Feed| feed.definition().is_some_and(|name| !definitions.contains(&name));
        let gone: Vec<Followed> = self.lost.keys().filter(|followed| undefined(followed.feed)).cloned().collect();
        for followed in gone {
            if let Some(known) = self.lost.remove(&followed) {
                let ids: BTreeSet<ObjectId> = known.into_keys().collect();
                ids.iter().for_each(|id| self.board.forget(followed.feed, id));
                self.store.remove_all(ids, followed.feed);
            }
        }
    }

    /// Reads what is mentioned and was not read.
    fn fetch(&mut self) {
        for id in self.store.take_to_fetch() {
            self.fetches.push(fetch(self.client.clone(), id, self.origin.clone()).boxed());
        }
    }
}

/// Tries until there is an answer.
async fn fetch(client: Client, id: ObjectId, origin: Origin) -> Fetched {
    static PLACES: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(FETCHES);
    let _place = PLACES.acquire().await;
    let mut backoff = Backoff::new();
    loop {
        match watch::fetch(&client, &id).await {
            Ok(object) => {
                let read = object.map(|object| {
                    let feed = Feed::of(id.kind);
                    let version = watch::version_of(&object.metadata);
                    (version, read(feed, id.kind.info().versions.first().copied().unwrap_or("v1"), object, &origin))
                });
                return (id, read);
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::warn!(object = %id, "may not be read and counts as absent: {}", status.message);
                return (id, None);
            }
            Err(error) => {
                if is_answer(&error) {
                    tracing::warn!(object = %id, %error, "cannot be read now");
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

/// Waits until what happens is over.
#[derive(Debug, Default)]
struct Settling {
    begin: Option<Instant>,
    end: Option<Instant>,
    changes: usize,
}

impl Settling {
    /// What changes nothing does not put off the end.
    fn touch(&mut self, changes: usize) {
        if self.end.is_some() && self.changes == changes {
            return;
        }
        let now = Instant::now();
        self.changes = changes;
        let begin = *self.begin.get_or_insert(now);
        let quiet = if changes >= BULK { BULK_QUIET } else { QUIET };
        self.end = Some((now + quiet).min(begin + CAP));
    }

    async fn over(&self) {
        match self.end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}
