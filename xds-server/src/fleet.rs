//! Who is connected, what each was sent, and what each made of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use smol_str::SmolStr;
use xds_api::ResourceType;

use crate::snapshot::{GroupKey, Snapshots};

/// One stream of an Envoy.
#[derive(Clone, Debug, Serialize)]
pub struct Client {
    pub gateway: GroupKey,
    pub node: String,
    pub version: String,
    pub locality: String,
    pub address: SocketAddr,
    /// `delta` or `sotw`.
    pub variant: &'static str,
    pub connected: SystemTime,
    #[serde(skip)]
    pub last_acknowledgement: Option<SystemTime>,
    pub types: Progress,
}

/// How far a client is, by type; in the order in which it asked. There are ten thousand of these: they are small.
#[derive(Clone, Debug, Default)]
pub struct Progress(Vec<(&'static str, TypeProgress)>);

impl Progress {
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&TypeProgress> {
        self.0.iter().find(|(of, _)| *of == kind).map(|(_, progress)| progress)
    }

    fn of(&mut self, kind: &'static str) -> Option<&mut TypeProgress> {
        let at = self.0.iter().position(|(of, _)| *of == kind).unwrap_or_else(|| {
            self.0.reserve_exact(1);
            self.0.push((kind, TypeProgress::default()));
            self.0.len() - 1
        });
        self.0.get_mut(at).map(|(_, progress)| progress)
    }
}

impl Serialize for Progress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, progress)| (kind, progress)))
    }
}

/// What a client has of one type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TypeProgress {
    pub sent: Option<SmolStr>,
    pub acknowledged: Option<SmolStr>,
    /// Envoy's own words, while the newest content is one it rejected.
    pub rejected: Option<String>,
    /// The resources that those words are about, as far as is known.
    pub refused: Vec<String>,
    /// From the change to its acknowledgement.
    pub took_ms: Option<u64>,
}

/// How the Envoys of a gateway stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub connected: usize,
    /// Those that have acknowledged everything they were sent.
    pub in_step: usize,
    /// The words of one that rejects what there is.
    pub rejected: Option<String>,
    /// Of any of them, in any type.
    pub last_acknowledgement: Option<SystemTime>,
}

/// How many names of a rejection are kept.
const MOST_NAMES: usize = 16;

/// A resource that an Envoy rejected, and that is set aside for its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    pub gateway: GroupKey,
    #[serde(serialize_with = "type_name")]
    pub kind: ResourceType,
    pub name: String,
    pub message: String,
}

/// A resource that is not sent, or not removed, because a name would dangle: what was there before stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    pub gateway: GroupKey,
    #[serde(serialize_with = "type_name")]
    pub kind: ResourceType,
    pub name: String,
    /// The names that are not there, or what still names this.
    pub because: Vec<String>,
}

fn type_name<S: serde::Serializer>(kind: &ResourceType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(short_name(*kind))
}

pub(crate) fn short_name(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Cluster => "clusters",
        ResourceType::Endpoints => "endpoints",
        ResourceType::Secret => "secrets",
        ResourceType::ExtensionConfig => "extensions",
        ResourceType::Listener => "listeners",
        ResourceType::RouteConfiguration => "routes",
        ResourceType::ScopedRoute => "scopes",
        ResourceType::VirtualHost => "virtual_hosts",
        ResourceType::Runtime => "runtime",
        ResourceType::RateLimitConfig => "ratelimit",
    }
}

/// The view of everyone connected. Cloning it is cheap: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Fleet(Arc<Mutex<Clients>>);

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    by_stream: BTreeMap<u64, Arc<Mutex<Client>>>,
}

impl Fleet {
    /// Everyone connected, in the order in which they came.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.0.lock().by_stream.values().map(|client| client.lock().clone()).collect()
    }

    /// Whether every connected client of a gateway acknowledged everything it was sent; none when nobody is connected.
    #[must_use]
    pub fn in_step(&self, gateway: &GroupKey) -> Option<bool> {
        let clients = self.0.lock();
        let mut found = None;
        for client in clients.by_stream.values() {
            let client = client.lock();
            if client.gateway == *gateway {
                let in_step = client.types.0.iter().all(|(_, progress)| progress.sent == progress.acknowledged);
                found = Some(found.unwrap_or(true) && in_step);
            }
        }
        found
    }

    /// How everyone connected stands, by gateway.
    #[must_use]
    pub fn standings(&self) -> BTreeMap<GroupKey, Standing> {
        let clients = self.0.lock();
        let mut standings: BTreeMap<GroupKey, Standing> = BTreeMap::new();
        for client in clients.by_stream.values() {
            let client = client.lock();
            let in_step = client.types.0.iter().all(|(_, progress)| progress.sent == progress.acknowledged);
            let standing = standings.entry(client.gateway.clone()).or_default();
            standing.connected += 1;
            standing.in_step += usize::from(in_step);
            standing.last_acknowledgement = standing.last_acknowledgement.max(client.last_acknowledgement);
            if standing.rejected.is_none() {
                standing.rejected = client.types.0.iter().find_map(|(_, progress)| progress.rejected.clone());
            }
        }
        standings
    }

    pub(crate) fn joined(&self, client: Client) -> Member {
        let mut clients = self.0.lock();
        clients.next += 1;
        let stream = clients.next;
        let client = Arc::new(Mutex::new(client));
        clients.by_stream.insert(stream, client.clone());
        Member { fleet: self.clone(), stream, client }
    }
}

/// A stream's place in the fleet; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    fleet: Fleet,
    stream: u64,
    client: Arc<Mutex<Client>>,
}

impl Member {
    pub(crate) fn sent(&self, kind: ResourceType, version: &str) {
        self.update(kind, |progress| progress.sent = Some(version.into()));
    }

    pub(crate) fn acknowledged(&self, kind: ResourceType, version: &str, took: Duration, now: SystemTime) {
        let mut client = self.client.lock();
        client.last_acknowledgement = Some(now);
        if let Some(progress) = client.types.of(short_name(kind)) {
            progress.acknowledged = Some(version.into());
            progress.rejected = None;
            progress.refused.clear();
            progress.took_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn rejected(&self, kind: ResourceType, message: &str, suspects: &[(Arc<str>, String)]) {
        self.update(kind, |progress| {
            progress.rejected = Some(message.to_owned());
            progress.refused = suspects.iter().map(|(name, _)| name.to_string()).take(MOST_NAMES).collect();
        });
    }

    /// There is nothing to be sent any more, though what was sent last was rejected: it was set aside, or is there no more.
    pub(crate) fn caught_up(&self, kind: ResourceType, still_refuses: bool) {
        self.update(kind, |progress| {
            progress.sent.clone_from(&progress.acknowledged);
            if !still_refuses {
                progress.rejected = None;
                progress.refused.clear();
            }
        });
    }

    fn update(&self, kind: ResourceType, edit: impl FnOnce(&mut TypeProgress)) {
        if let Some(progress) = self.client.lock().types.of(short_name(kind)) {
            edit(progress);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.fleet.0.lock().by_stream.remove(&self.stream);
    }
}

impl Snapshots {
    /// What is set aside because an Envoy rejected it.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        let of_group = |group: Arc<crate::snapshot::Group>| {
            let gateway = group.key.clone();
            group.rejected().into_iter().map(move |aside| Rejection {
                gateway: gateway.clone(),
                kind: aside.resource.kind,
                name: aside.resource.name.to_string(),
                message: aside.message,
            })
        };
        self.groups().into_iter().flat_map(of_group).collect()
    }

    /// What is held back in all groups.
    #[must_use]
    pub fn held_back(&self) -> Vec<HeldBack> {
        let of_group = |group: Arc<crate::snapshot::Group>| {
            let gateway = group.key.clone();
            group.held_back().into_iter().map(move |held| HeldBack {
                gateway: gateway.clone(),
                kind: held.kind,
                name: held.name.to_string(),
                because: held.because,
            })
        };
        self.groups().into_iter().flat_map(of_group).collect()
    }
}
