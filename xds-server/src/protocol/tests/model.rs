//! Random interleavings against a model of Envoy's clients: whatever happens, they end with the state of the group.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KINDS: [ResourceType; 4] = [CDS, EDS, LDS, RDS];

#[derive(Clone, Debug)]
enum Act {
    Set(usize, usize, u8),
    Remove(usize, usize),
    Subscribe(usize),
    Unsubscribe(usize),
    Resubscribe(usize),
    Receive,
    Settle(usize),
    Stale(usize),
    Reconnect,
    Wait,
}

fn act() -> impl Strategy<Value = Act> {
    let kind = 0..KINDS.len();
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (kind.clone(), name.clone(), any::<u8>()).prop_map(|(k, n, c)| Act::Set(k, n, c % 8)),
        2 => (kind.clone(), name.clone()).prop_map(|(k, n)| Act::Remove(k, n)),
        2 => name.clone().prop_map(Act::Subscribe),
        1 => name.clone().prop_map(Act::Unsubscribe),
        1 => name.prop_map(Act::Resubscribe),
        6 => Just(Act::Receive),
        6 => kind.clone().prop_map(Act::Settle),
        1 => kind.prop_map(Act::Stale),
        1 => Just(Act::Reconnect),
        1 => Just(Act::Wait),
    ]
}

/// Content that this client rejects.
fn is_bad(content: &str) -> bool {
    content.ends_with("=7")
}

/// Envoy's side: what it holds, by type and name, and responses that it has not answered yet.
struct Model {
    rig: Rig,
    wanted: BTreeSet<&'static str>,
    held: BTreeMap<(ResourceType, String), (String, String)>,
    version: BTreeMap<ResourceType, String>,
    nonce: BTreeMap<ResourceType, String>,
    inbox: BTreeMap<ResourceType, Vec<Reply>>,
}

fn wildcard(kind: ResourceType) -> bool {
    matches!(kind, CDS | LDS)
}

impl Model {
    fn new(variant: Variant) -> Self {
        let mut model = Self {
            rig: Rig::new(variant),
            wanted: BTreeSet::new(),
            held: BTreeMap::new(),
            version: BTreeMap::new(),
            nonce: BTreeMap::new(),
            inbox: BTreeMap::new(),
        };
        model.open();
        model
    }

    fn names(&self, kind: ResourceType) -> Vec<&'static str> {
        if wildcard(kind) { Vec::new() } else { self.wanted.iter().copied().collect() }
    }

    /// The first requests of a stream, with what is known from before.
    fn open(&mut self) {
        self.inbox.clear();
        for kind in KINDS {
            let names = self.names(kind);
            if !wildcard(kind) && names.is_empty() {
                continue;
            }
            match self.rig.variant {
                Variant::Delta => {
                    let versions = self.known(kind);
                    self.rig.delta(kind, |request| {
                        request.subscribe = strings(&names).into();
                        request.versions = versions;
                    });
                }
                Variant::Sotw => {
                    let version = self.version.get(&kind).cloned().unwrap_or_default();
                    self.rig.sotw_with(kind, &names, "", &version, None);
                }
            }
        }
        self.nonce.clear();
    }

    fn known(&self, of: ResourceType) -> Versions {
        let held = self.held.iter().filter(|((kind, _), _)| *kind == of);
        held.map(|((_, name), (version, _))| (name.to_string(), version.to_string())).collect::<Vec<_>>().into()
    }

    fn receive(&mut self) -> bool {
        let Some(reply) = self.rig.next() else { return false };
        let in_flight = self.inbox.entry(reply.kind).or_default();
        in_flight.push(reply);
        true
    }

    /// Answers the oldest response of a type.
    fn settle(&mut self, kind: ResourceType) {
        let Some(queue) = self.inbox.get_mut(&kind).filter(|queue| !queue.is_empty()) else { return };
        let reply = queue.remove(0);
        let bad: Vec<&str> = reply.contents().into_iter().filter(|content| is_bad(content)).collect();
        let names = self.names(kind);
        self.nonce.insert(kind, reply.nonce.clone());
        if let Some(first) = bad.first() {
            let name = first.split('=').next().unwrap_or_default().to_owned();
            if self.rig.variant == Variant::Sotw && wildcard(kind) {
                // Envoy takes what is good of clusters and listeners, whatever it says of the whole.
                self.take_all(kind, &reply);
            }
            self.rig.nack(&reply, &names, &format!("{name} is bad"));
            return;
        }
        self.take_all(kind, &reply);
        self.version.insert(kind, reply.version.clone());
        self.rig.ack(&reply, &names);
    }

    fn take_all(&mut self, kind: ResourceType, reply: &Reply) {
        for (index, (name, content)) in reply.resources.iter().enumerate() {
            let version = reply.versions.get(index).cloned().unwrap_or_default();
            if !is_bad(content) && (wildcard(kind) || self.wanted.contains(name.as_str())) {
                self.held.insert((kind, name.clone()), (version, content.clone()));
            }
        }
        for name in &reply.removed {
            self.held.remove(&(kind, name.clone()));
        }
        if self.rig.variant == Variant::Sotw && wildcard(kind) {
            let names = reply.names();
            self.held.retain(|(of, name), _| *of != kind || names.contains(&name.as_str()));
        }
    }

    fn request_names(&mut self, edit: impl Fn(ResourceType, &mut DeltaRequest)) {
        for kind in [EDS, RDS] {
            match self.rig.variant {
                Variant::Delta => drop(self.rig.delta(kind, |request| edit(kind, request))),
                Variant::Sotw => {
                    let nonce = self.nonce.get(&kind).cloned().unwrap_or_default();
                    let names = self.names(kind);
                    self.rig.sotw(kind, &names, &nonce);
                }
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Set(kind, name, content) => self.rig.set(&[(KINDS[*kind], NAMES[*name], &content.to_string())]),
            Act::Remove(kind, name) => self.rig.remove(KINDS[*kind], NAMES[*name]),
            Act::Subscribe(name) => {
                let name = NAMES[*name];
                if self.wanted.insert(name) {
                    // Envoy asks anew for what it had forgotten when something has changed that names it, and the server sees
                    // to it that the version is not true then.
                    self.version.retain(|kind, _| wildcard(*kind));
                    self.request_names(|_, request| request.subscribe = strings(&[name]).into());
                }
            }
            Act::Unsubscribe(name) => {
                let name = NAMES[*name];
                if self.wanted.remove(name) {
                    self.held.retain(|(kind, held), _| wildcard(*kind) || held != name);
                    self.request_names(|_, request| request.unsubscribe = strings(&[name]));
                }
            }
            Act::Resubscribe(name) => {
                let name = NAMES[*name];
                if self.rig.variant == Variant::Delta && self.wanted.contains(name) {
                    self.held.retain(|(kind, held), _| wildcard(*kind) || held != name);
                    self.request_names(|_, request| request.subscribe = strings(&[name]).into());
                }
            }
            Act::Receive => drop(self.receive()),
            Act::Settle(kind) => self.settle(KINDS[*kind]),
            Act::Stale(kind) => {
                let kind = KINDS[*kind];
                let names = self.names(kind);
                if !wildcard(kind) && names.is_empty() {
                    return;
                }
                match self.rig.variant {
                    Variant::Delta => drop(self.rig.delta(kind, |request| request.nonce = "stale".into())),
                    Variant::Sotw => drop(self.rig.sotw(kind, &names, "stale")),
                }
            }
            Act::Reconnect => {
                let now = self.rig.now;
                self.rig = Rig::of(self.rig.variant, self.rig.group.clone());
                self.rig.now = now;
                self.open();
            }
            Act::Wait => self.rig.now += Duration::from_secs(2),
        }
        for kind in KINDS {
            let in_flight = self.inbox.get(&kind).map_or(0, Vec::len);
            assert!(in_flight <= 12, "no queue grows: {in_flight}");
        }
    }

    /// Everything is received and answered; in how many messages.
    fn run_dry(&mut self) -> usize {
        let mut messages = 0;
        loop {
            let mut any = false;
            while self.receive() {
                any = true;
                messages += 1;
                assert!(messages < 200, "it does not end");
            }
            for kind in KINDS {
                while self.inbox.get(&kind).is_some_and(|queue| !queue.is_empty()) {
                    self.settle(kind);
                    any = true;
                }
            }
            if !any {
                return messages;
            }
        }
    }

    /// What the group says and this client wants is what it holds, but for what it rejected.
    fn assert_converged(&self) {
        for kind in KINDS {
            let state = self.rig.group.state(kind);
            for entry in state.entries() {
                if !wildcard(kind) && !self.wanted.contains(&*entry.name) {
                    continue;
                }
                let content = content(kind, &entry.body);
                let held = self.held.get(&(kind, entry.name.to_string())).map(|(_, content)| content.clone());
                if !is_bad(&content) {
                    assert_eq!(held, Some(content), "{kind:?}");
                }
            }
            if wildcard(kind) {
                let aside = self.rig.group.rejected();
                let kept =
                    |name: &str| aside.iter().any(|aside| aside.resource.kind == kind && *aside.resource.name == *name);
                let more = self.held.keys().find(|(of, name)| *of == kind && state.get(name).is_none() && !kept(name));
                assert_eq!(more, None, "what is gone is gone");
            }
        }
    }
}

fn converges(variant: Variant, acts: &[Act]) {
    let mut model = Model::new(variant);
    for act in acts {
        model.act(act);
    }
    model.rig.now += Duration::from_secs(60);
    model.run_dry();
    model.assert_converged();
    assert_eq!(model.run_dry(), 0);
    // Once in step, an edit is one message, and a restart of the stream brings nothing new.
    model.rig.set(&[(LDS, "z", "1")]);
    assert_eq!(model.run_dry(), 1);
    let doubtful = KINDS.iter().any(|kind| model.rig.group.is_doubtful(*kind));
    if variant == Variant::Delta || !doubtful {
        if variant == Variant::Sotw {
            // One version for all that was asked for, however it was asked for before.
            model.rig.set(&NAMES.map(|name| (EDS, name, "9")));
            model.rig.set(&NAMES.map(|name| (RDS, name, "9")));
            model.run_dry();
        }
        model.act(&Act::Reconnect);
        while let Some(reply) = model.rig.next() {
            let fresh: Vec<_> = reply.contents().into_iter().filter(|content| !is_bad(content)).collect();
            assert!(fresh.is_empty(), "it has all of this: {fresh:?}");
            assert_eq!(variant, Variant::Delta, "nothing to be said: {reply:?}");
            model.rig.ack(&reply, &[]);
        }
    }
}

proptest! {
    #[test]
    fn delta_clients_converge(acts in proptest::collection::vec(act(), 0..60)) {
        converges(Variant::Delta, &acts);
    }

    #[test]
    fn sotw_clients_converge(acts in proptest::collection::vec(act(), 0..60)) {
        converges(Variant::Sotw, &acts);
    }
}
