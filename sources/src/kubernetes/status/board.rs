//! What the API server holds of statuses, and which of them are to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kinds::{Kind, ObjectId};
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::{Value, json};
use smol_str::SmolStr;
use tokio::sync::Notify;

use crate::kubernetes::feed::Feed;
use crate::kubernetes::read::identity;

/// Belongs to a Service that stands before the Envoys of the Gateway of that name, in the Gateway's namespace.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// As many addresses as a Gateway's status holds.
const MOST_ADDRESSES: usize = 16;

/// Shared by those who watch, those who translate and the one who writes. Cloning it is cheap: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<ObjectId, Held>,
    dirty: BTreeSet<ObjectId>,
    /// By Gateway, the addresses of each Service that stands before it.
    addresses: BTreeMap<ObjectId, BTreeMap<SmolStr, Vec<Value>>>,
}

/// An object as far as its status is concerned.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub feed: Feed,
    pub version: &'static str,
    pub uid: SmolStr,
    pub resource_version: SmolStr,
    /// As JSON; most are equal to what we would write and are never read again.
    pub status: Box<str>,
}

impl Board {
    /// Takes note of an object before it is read. What is older than what is known is passed over.
    pub(in crate::kubernetes) fn note(&self, feed: Feed, version: &'static str, object: &DynamicObject) {
        let id = identity(feed, &object.metadata);
        if feed.kind == Kind::Service {
            self.note_service(&id, object);
        }
        if feed.is_built_in() || feed.rank() > 0 {
            return;
        }
        let text = |field: &Option<String>| SmolStr::new(field.as_deref().unwrap_or_default());
        let held = Held {
            feed,
            version,
            uid: text(&object.metadata.uid),
            resource_version: text(&object.metadata.resource_version),
            status: object.data.get("status").map(Value::to_string).unwrap_or_default().into_boxed_str(),
        };
        let mut state = self.0.state.lock();
        match state.held.get(&id) {
            Some(before) if before.uid == held.uid && is_older(&held.resource_version, &before.resource_version) => {
                return;
            }
            Some(before) if before.uid == held.uid && before.status == held.status => {
                // Nobody wrote the status: whether ours is still right is seen when the object has been translated anew.
                state.held.insert(id, held);
                return;
            }
            _ => {}
        }
        state.held.insert(id.clone(), held);
        state.dirty.insert(id);
        drop(state);
        self.0.touched.notify_one();
    }

    pub(in crate::kubernetes) fn forget(&self, feed: Feed, id: &ObjectId) {
        let mut state = self.0.state.lock();
        if feed.kind == Kind::Service {
            self.set_addresses(&mut state, id, None);
        }
        if feed.rank() == 0 {
            state.held.remove(id);
            state.dirty.remove(id);
        }
    }

    /// What is to be said of these objects has changed.
    pub fn changed(&self, ids: impl IntoIterator<Item = ObjectId>) {
        let mut state = self.0.state.lock();
        // Who follows takes nothing out, and what is gone must not gather there.
        let held: Vec<ObjectId> = ids.into_iter().filter(|id| state.held.contains_key(id)).collect();
        state.dirty.extend(held);
        drop(state);
        self.0.touched.notify_one();
    }

    /// Where a Gateway can be reached, by the Services that stand before it; none when there is no such Service.
    #[must_use]
    pub fn addresses(&self, gateway: &ObjectId) -> Option<Vec<Value>> {
        let state = self.0.state.lock();
        let services = state.addresses.get(gateway)?;
        let mut all: Vec<Value> = Vec::new();
        for address in services.values().flatten() {
            if !all.contains(address) && all.len() < MOST_ADDRESSES {
                all.push(address.clone());
            }
        }
        Some(all)
    }

    /// How others call an object; none when it is not there.
    pub(in crate::kubernetes) fn reference(&self, id: &ObjectId) -> Option<ObjectReference> {
        let held = self.held(id)?;
        let resource = held.feed.resource(held.version);
        Some(ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(id.name.to_string()),
            namespace: (!id.namespace.is_empty()).then(|| id.namespace.to_string()),
            uid: Some(held.uid.to_string()),
            ..ObjectReference::default()
        })
    }

    pub(super) async fn touched(&self) {
        self.0.touched.notified().await;
    }

    pub(super) fn take_dirty(&self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut self.0.state.lock().dirty)
    }

    pub(super) fn all_dirty(&self) {
        let mut state = self.0.state.lock();
        state.dirty = state.held.keys().cloned().collect();
        self.0.touched.notify_one();
    }

    pub(super) fn held(&self, id: &ObjectId) -> Option<Held> {
        self.0.state.lock().held.get(id).cloned()
    }

    fn note_service(&self, id: &ObjectId, service: &DynamicObject) {
        let gateway = service.metadata.labels.as_ref().and_then(|labels| labels.get(GATEWAY_NAME));
        let found = gateway.map(|name| {
            (ObjectId::new(Kind::Gateway, id.namespace.clone(), name.as_str()), addresses_of(&service.data))
        });
        let mut state = self.0.state.lock();
        self.set_addresses(&mut state, id, found);
    }

    fn set_addresses(&self, state: &mut State, service: &ObjectId, found: Option<(ObjectId, Vec<Value>)>) {
        let mut changed = BTreeSet::new();
        let of_namespace = |gateway: &ObjectId| gateway.namespace == service.namespace;
        for (gateway, services) in state.addresses.iter_mut().filter(|(gateway, _)| of_namespace(gateway)) {
            let stays = found.as_ref().is_some_and(|(now, _)| now == gateway);
            if !stays && services.remove(&service.name).is_some() {
                changed.insert(gateway.clone());
            }
        }
        if let Some((gateway, addresses)) = found {
            let services = state.addresses.entry(gateway.clone()).or_default();
            if services.get(&service.name) != Some(&addresses) {
                services.insert(service.name.clone(), addresses);
                changed.insert(gateway);
            }
        }
        state.addresses.retain(|_, services| !services.is_empty());
        if !changed.is_empty() {
            state.dirty.extend(changed);
            self.0.touched.notify_one();
        }
    }
}

/// Resource versions are numbers that grow; what is none is taken for new.
fn is_older(one: &str, other: &str) -> bool {
    matches!((one.parse::<u64>(), other.parse::<u64>()), (Ok(one), Ok(other)) if one < other)
}

/// A load balancer's own addresses; for Services that have none, those by which the cluster reaches them.
fn addresses_of(service: &Value) -> Vec<Value> {
    let list = |pointer: &str| service.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let ip = |value: &str| json!({"type": "IPAddress", "value": value});
    let mut found: Vec<Value> = list("/spec/externalIPs").filter_map(Value::as_str).map(ip).collect();
    for ingress in list("/status/loadBalancer/ingress") {
        if let Some(address) = ingress.get("ip").and_then(Value::as_str) {
            found.push(ip(address));
        } else if let Some(name) = ingress.get("hostname").and_then(Value::as_str) {
            found.push(json!({"type": "Hostname", "value": name}));
        }
    }
    let balanced = service.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer");
    if found.is_empty() && !balanced {
        found.extend(list("/spec/clusterIPs").filter_map(Value::as_str).filter(|address| *address != "None").map(ip));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, gateway: Option<&str>, ingress: &str) -> DynamicObject {
        let labels = gateway.map(|gateway| json!({ GATEWAY_NAME: gateway })).unwrap_or_default();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]},
            "status": {"loadBalancer": {"ingress": [{"ip": ingress}]}},
        }))
        .unwrap()
    }

    #[test]
    fn a_gateway_has_the_addresses_of_the_services_before_it() {
        let board = Board::default();
        let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
        let feed = Feed::of(Kind::Service);
        board.note(feed, "v1", &service("web", Some("web"), "192.0.2.1"));
        board.note(feed, "v1", &service("other", None, "192.0.2.9"));
        assert_eq!(board.addresses(&gateway), Some(vec![json!({"type": "IPAddress", "value": "192.0.2.1"})]));
        assert_eq!(board.take_dirty(), [gateway.clone()].into());
        board.note(feed, "v1", &service("web", Some("web"), "192.0.2.1"));
        assert!(board.take_dirty().is_empty());
        board.forget(feed, &ObjectId::new(Kind::Service, "shop", "web"));
        assert_eq!(board.addresses(&gateway), None);
        assert_eq!(board.take_dirty(), [gateway].into());
    }
}
