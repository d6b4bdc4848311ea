//! The resource graph: objects, placeholders for objects that are missing, and the references between them, each with
//! a verdict.
//!
//! It answers what a Gateway needs, who refers to a Secret, what is orphaned, and which readers a change concerns: the
//! engine's facts about references are the graph's edges.
//!
//! Invariant: every edge's verdict is the one that the objects in the graph give it at this moment. It is decided again
//! when the edge is made, when its target appears or goes, and when a ReferenceGrant in the target's namespace changes.

mod ai_references;
mod draw;
mod grants;
mod policy_references;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use kinds::{Kind, Object, ObjectId};
use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::engine::{Fact, UnitSet};
use grants::Grants;
use reference::Reference;
pub use reference::{Role, Target};

pub(crate) type ObjectIndex = NodeIndex;

/// An object, or the place of one that is missing.
#[derive(Debug)]
pub struct Node {
    pub id: ObjectId,
    object: Option<Arc<Object>>,
    /// The references that it makes, in the order in which it makes them.
    outgoing: Vec<EdgeIndex>,
    /// Who refers to it, in each role: a Gateway's routes are not to be gone through for its policies.
    referrers: SmallVec<[(Role, Referrers); 1]>,
    content_readers: UnitSet,
    outgoing_readers: UnitSet,
}

/// The objects that refer to one in a role, and how often.
#[derive(Debug, Default)]
struct Referrers {
    /// Sorted. Later objects have higher numbers: what is added goes to the end of its kind.
    sources: SmallVec<[Referrer; 1]>,
    readers: UnitSet,
}

#[derive(Debug)]
struct Referrer {
    kind: Kind,
    object: ObjectIndex,
    times: u32,
}

impl Referrers {
    fn place(&self, kind: Kind, object: ObjectIndex) -> Result<usize, usize> {
        self.sources.binary_search_by_key(&(kind, object), |source| (source.kind, source.object))
    }

    fn add(&mut self, kind: Kind, object: ObjectIndex) {
        match self.place(kind, object) {
            Ok(at) => self.sources[at].times += 1,
            Err(at) => self.sources.insert(at, Referrer { kind, object, times: 1 }),
        }
    }

    fn take_away(&mut self, kind: Kind, object: ObjectIndex) {
        let Ok(at) = self.place(kind, object) else { return };
        self.sources[at].times -= 1;
        if self.sources[at].times == 0 {
            self.sources.remove(at);
        }
    }

    fn of_kind(&self, kind: Kind) -> &[Referrer] {
        let begin = self.sources.partition_point(|source| source.kind < kind);
        let end = self.sources.partition_point(|source| source.kind <= kind);
        &self.sources[begin..end]
    }
}

impl Node {
    fn new(id: ObjectId) -> Self {
        Self {
            id,
            object: None,
            outgoing: Vec::new(),
            referrers: SmallVec::new(),
            content_readers: UnitSet::default(),
            outgoing_readers: UnitSet::default(),
        }
    }

    #[must_use]
    pub fn present(&self) -> bool {
        self.object.is_some()
    }

    /// Whether it is part of the graph that users see: others are there for their readers alone.
    fn visible(&self) -> bool {
        self.present() || self.referrers.iter().any(|(_, referrers)| !referrers.sources.is_empty())
    }

    fn needed(&self) -> bool {
        self.visible()
            || !self.content_readers.is_empty()
            || !self.outgoing_readers.is_empty()
            || self.referrers.iter().any(|(_, referrers)| !referrers.readers.is_empty())
    }

    fn referrers(&self, role: Role) -> Option<&Referrers> {
        self.referrers.iter().find(|(of, _)| *of == role).map(|(_, referrers)| referrers)
    }

    fn referrers_mut(&mut self, role: Role) -> &mut Referrers {
        let at = self.referrers.iter().position(|(of, _)| *of == role).unwrap_or_else(|| {
            self.referrers.push((role, Referrers::default()));
            self.referrers.len() - 1
        });
        &mut self.referrers[at].1
    }
}

/// A reference from one object to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub role: Role,
    /// The field that makes the reference.
    pub path: SmolStr,
    pub target: Target,
    pub verdict: Verdict,
    /// The place among the references of its source.
    position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Another namespace, and no ReferenceGrant there.
    NotPermitted,
    NotFound,
    /// A group and kind that cannot stand in this role.
    NotSupported,
}

#[derive(Debug, Default)]
pub struct Graph {
    graph: StableDiGraph<Node, Edge>,
    /// Numbers, each with the hash of its object's name, which stands in the node.
    nodes: HashTable<(u64, NodeIndex)>,
    /// References to kinds that cannot be a node.
    unsupported: FxHashMap<ObjectId, Vec<Edge>>,
    grants: Grants,
    /// The edges whose verdict depends on the grants of a namespace.
    crossing: BTreeMap<SmolStr, BTreeSet<EdgeIndex>>,
}

impl Graph {
    /// Puts an object in its place; returns the one that stood there.
    pub(crate) fn put(&mut self, object: Arc<Object>, changed: &mut Vec<Fact>) -> Option<Arc<Object>> {
        let index = self.place(&object.id);
        let old = self.graph[index].object.replace(object.clone());
        if old.as_ref().is_some_and(|old| *old == object) {
            return old;
        }
        changed.push(Fact::Object(index));
        if object.id.kind == Kind::ReferenceGrant {
            self.grants.put(&object);
            self.decide_crossing(&object.id.namespace, changed);
        }
        self.set_references(index, reference::references(&object), changed);
        if old.is_none() {
            self.decide_incoming(index, changed);
        }
        old
    }

    /// False when it was not there.
    pub(crate) fn remove(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) -> bool {
        let Some(index) = self.index(id) else { return false };
        if self.graph[index].object.take().is_none() {
            return false;
        }
        changed.push(Fact::Object(index));
        if id.kind == Kind::ReferenceGrant {
            self.grants.remove(id);
            self.decide_crossing(&id.namespace, changed);
        }
        self.set_references(index, Vec::new(), changed);
        self.decide_incoming(index, changed);
        self.forget_if_unneeded(index);
        true
    }

    pub(crate) fn index(&self, id: &ObjectId) -> Option<ObjectIndex> {
        self.find(id, FxBuildHasher.hash_one(id))
    }

    fn find(&self, id: &ObjectId, hash: u64) -> Option<ObjectIndex> {
        let same = |(other, index): &(u64, NodeIndex)| {
            *other == hash && self.graph.node_weight(*index).is_some_and(|node| node.id == *id)
        };
        self.nodes.find(hash, same).map(|(_, index)| *index)
    }

    /// The place of an object, which need not be there.
    pub(crate) fn place(&mut self, id: &ObjectId) -> ObjectIndex {
        let hash = FxBuildHasher.hash_one(id);
        self.find(id, hash).unwrap_or_else(|| {
            let index = self.graph.add_node(Node::new(id.clone()));
            self.nodes.insert_unique(hash, (hash, index), |(hash, _)| *hash);
            index
        })
    }

    pub(crate) fn id(&self, index: ObjectIndex) -> Option<&ObjectId> {
        self.graph.node_weight(index).map(|node| &node.id)
    }

    pub(crate) fn object(&self, index: ObjectIndex) -> Option<&Arc<Object>> {
        self.graph.node_weight(index)?.object.as_ref()
    }

    /// The references of an object in the order in which it makes them.
    pub(crate) fn outgoing(&self, index: ObjectIndex) -> impl Iterator<Item = &Edge> {
        let node = self.graph.node_weight(index);
        let unsupported = node.filter(|_| !self.unsupported.is_empty()).and_then(|node| self.unsupported.get(&node.id));
        let edges = node.into_iter().flat_map(|node| &node.outgoing);
        edges.filter_map(|edge| self.graph.edge_weight(*edge)).chain(unsupported.into_iter().flatten())
    }

    /// The objects that refer to one in a role, sorted.
    pub(crate) fn incoming(&self, index: ObjectIndex, role: Role) -> Vec<&ObjectId> {
        self.sorted(self.referrers(index, role).map(|referrers| referrers.sources.as_slice()))
    }

    /// Those of one kind.
    pub(crate) fn incoming_of(&self, index: ObjectIndex, role: Role, kind: Kind) -> Vec<&ObjectId> {
        self.sorted(self.referrers(index, role).map(|referrers| referrers.of_kind(kind)))
    }

    fn referrers(&self, index: ObjectIndex, role: Role) -> Option<&Referrers> {
        self.graph.node_weight(index)?.referrers(role)
    }

    fn sorted(&self, sources: Option<&[Referrer]>) -> Vec<&ObjectId> {
        let sources = sources.unwrap_or_default().iter();
        let mut ids: Vec<_> = sources.filter_map(|source| self.id(source.object)).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn permits(&self, source: &ObjectId, target: &ObjectId) -> bool {
        self.grants.permit(source, target)
    }

    /// The units that read a fact about an object.
    pub(crate) fn readers(&self, fact: Fact) -> Option<&UnitSet> {
        match fact {
            Fact::Object(index) => Some(&self.graph.node_weight(index)?.content_readers),
            Fact::Outgoing(index) => Some(&self.graph.node_weight(index)?.outgoing_readers),
            Fact::Incoming(index, role) => Some(&self.graph.node_weight(index)?.referrers(role)?.readers),
            Fact::Members(_) | Fact::Product(_) | Fact::Demanders(_) => None,
        }
    }

    pub(crate) fn readers_mut(&mut self, fact: Fact) -> Option<&mut UnitSet> {
        match fact {
            Fact::Object(index) => Some(&mut self.graph.node_weight_mut(index)?.content_readers),
            Fact::Outgoing(index) => Some(&mut self.graph.node_weight_mut(index)?.outgoing_readers),
            Fact::Incoming(index, role) => Some(&mut self.graph.node_weight_mut(index)?.referrers_mut(role).readers),
            Fact::Members(_) | Fact::Product(_) | Fact::Demanders(_) => None,
        }
    }

    /// Every object and placeholder, sorted.
    #[must_use]
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<_> = self.graph.node_weights().filter(|node| node.visible()).collect();
        nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    /// Every reference, sorted by its source and field.
    #[must_use]
    pub fn edges(&self) -> Vec<(&ObjectId, &Edge)> {
        let nodes = self.nodes().into_iter().filter_map(|node| Some((&node.id, self.index(&node.id)?)));
        nodes.flat_map(|(id, index)| self.outgoing(index).map(move |edge| (id, edge))).collect()
    }

    fn set_references(&mut self, source: NodeIndex, references: Vec<Reference>, changed: &mut Vec<Fact>) {
        let id = self.graph[source].id.clone();
        let mut before = std::mem::take(&mut self.graph[source].outgoing);
        let had_unsupported =
            if self.unsupported.is_empty() { Vec::new() } else { self.unsupported.remove(&id).unwrap_or_default() };
        let mut outgoing = Vec::with_capacity(references.len());
        let mut unsupported = Vec::new();
        let mut any_new = false;
        for (position, Reference { role, path, target }) in (0..).zip(references) {
            // What stands as it stood is left alone: a route that gets another backend costs nothing at its Gateway.
            let stands = before.iter().position(|edge| {
                let stood = &self.graph[*edge];
                position == stood.position && role == stood.role && path == stood.path && target == stood.target
            });
            if let Some(at) = stands {
                outgoing.push(before.swap_remove(at));
                continue;
            }
            match &target {
                Target::Object(target_id) => {
                    any_new = true;
                    let node = self.place(target_id);
                    // One copy of each name: equal ones are then the same, and are known to be at a glance.
                    let target_id = self.graph[node].id.clone();
                    let target = Target::Object(target_id.clone());
                    let verdict = self.decide(&id, role, node);
                    let edge = self.graph.add_edge(source, node, Edge { role, path, target, verdict, position });
                    if reference::needs_grant(role) && target_id.namespace != id.namespace {
                        self.crossing.entry(target_id.namespace.clone()).or_default().insert(edge);
                    }
                    outgoing.push(edge);
                    self.graph[node].referrers_mut(role).add(id.kind, source);
                    changed.push(Fact::Incoming(node, role));
                }
                Target::Unsupported { .. } => {
                    unsupported.push(Edge { role, path, target, verdict: Verdict::NotSupported, position });
                }
            }
        }
        let same = before.is_empty() && !any_new && unsupported == had_unsupported;
        self.graph[source].outgoing = outgoing;
        for edge in before {
            self.remove_edge(edge, id.kind, changed);
        }
        if !unsupported.is_empty() {
            self.unsupported.insert(id, unsupported);
        }
        if !same {
            changed.push(Fact::Outgoing(source));
        }
    }

    fn remove_edge(&mut self, edge: EdgeIndex, kind: Kind, changed: &mut Vec<Fact>) {
        let Some((source, target)) = self.graph.edge_endpoints(edge) else { return };
        let Some(Edge { role, .. }) = self.graph.remove_edge(edge) else { return };
        let node = &mut self.graph[target];
        node.referrers_mut(role).take_away(kind, source);
        if let Some(edges) = self.crossing.get_mut(&node.id.namespace) {
            edges.remove(&edge);
        }
        changed.push(Fact::Incoming(target, role));
        self.forget_if_unneeded(target);
    }

    fn decide(&self, source: &ObjectId, role: Role, target: NodeIndex) -> Verdict {
        let target = &self.graph[target];
        let crossing = reference::needs_grant(role) && target.id.namespace != source.namespace;
        if crossing && !self.grants.permit(source, &target.id) {
            return Verdict::NotPermitted;
        }
        if target.present() { Verdict::Allowed } else { Verdict::NotFound }
    }

    fn decide_incoming(&mut self, node: NodeIndex, changed: &mut Vec<Fact>) {
        let mut edges = self.graph.neighbors_directed(node, Direction::Incoming).detach();
        while let Some((edge, _)) = edges.next(&self.graph) {
            self.decide_again(edge, changed);
        }
    }

    fn decide_crossing(&mut self, namespace: &SmolStr, changed: &mut Vec<Fact>) {
        let edges: Vec<_> = self.crossing.get(namespace).into_iter().flatten().copied().collect();
        for edge in edges {
            self.decide_again(edge, changed);
        }
    }

    fn decide_again(&mut self, edge: EdgeIndex, changed: &mut Vec<Fact>) {
        let Some((source, target)) = self.graph.edge_endpoints(edge) else { return };
        let verdict = self.decide(&self.graph[source].id, self.graph[edge].role, target);
        if self.graph[edge].verdict != verdict {
            self.graph[edge].verdict = verdict;
            changed.push(Fact::Outgoing(source));
        }
    }

    /// Forgets the place of an object that is not there and that nobody refers to or asks about.
    pub(crate) fn forget_if_unneeded(&mut self, index: ObjectIndex) {
        if self.graph.node_weight(index).is_some_and(|node| !node.needed())
            && let Some(node) = self.graph.remove_node(index)
            && let Ok(found) = self.nodes.find_entry(FxBuildHasher.hash_one(&node.id), |(_, other)| *other == index)
        {
            found.remove();
        }
    }
}
