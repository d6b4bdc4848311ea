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
use std::sync::Arc;

use kinds::{Kind, Object, ObjectId};
use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use crate::engine::Fact;
use grants::Grants;
use reference::Reference;
pub use reference::{Role, Target};

/// An object, or the place of one that is missing.
#[derive(Debug)]
pub struct Node {
    pub id: ObjectId,
    pub present: bool,
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
    nodes: FxHashMap<ObjectId, NodeIndex>,
    /// Who refers to an object in a role, and how often: a Gateway's routes are not to be gone through for its policies.
    referrers: FxHashMap<(NodeIndex, Role), BTreeMap<ObjectId, u32>>,
    /// References to kinds that cannot be a node.
    unsupported: FxHashMap<ObjectId, Vec<Edge>>,
    grants: Grants,
    /// The edges whose verdict depends on the grants of a namespace.
    crossing: BTreeMap<SmolStr, BTreeSet<EdgeIndex>>,
}

impl Graph {
    pub(crate) fn put(&mut self, object: &Arc<Object>, changed: &mut Vec<Fact>) {
        let node = self.node(&object.id);
        let appeared = !std::mem::replace(&mut self.graph[node].present, true);
        if object.id.kind == Kind::ReferenceGrant {
            self.grants.put(object);
            self.decide_crossing(&object.id.namespace, changed);
        }
        self.set_references(node, reference::references(object), changed);
        if appeared {
            self.decide_incoming(node, changed);
        }
    }

    pub(crate) fn remove(&mut self, id: &ObjectId, changed: &mut Vec<Fact>) {
        let Some(node) = self.nodes.get(id).copied() else { return };
        self.graph[node].present = false;
        if id.kind == Kind::ReferenceGrant {
            self.grants.remove(id);
            self.decide_crossing(&id.namespace, changed);
        }
        self.set_references(node, Vec::new(), changed);
        self.decide_incoming(node, changed);
        self.forget_if_unneeded(node);
    }

    /// The references of an object in the order in which it makes them.
    pub(crate) fn outgoing(&self, id: &ObjectId) -> Vec<&Edge> {
        let Some(node) = self.nodes.get(id) else { return Vec::new() };
        let mut edges: Vec<_> = self.graph.edges(*node).map(|edge| edge.weight()).collect();
        edges.sort_unstable_by_key(|edge| edge.position);
        edges.extend(self.unsupported.get(id).into_iter().flatten());
        edges
    }

    pub(crate) fn incoming(&self, id: &ObjectId, role: Role) -> Vec<ObjectId> {
        self.sources(id, role).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    pub(crate) fn incoming_of(&self, id: &ObjectId, role: Role, kind: Kind) -> Vec<ObjectId> {
        let first = ObjectId { kind, namespace: SmolStr::default(), name: SmolStr::default() };
        let sources = self.sources(id, role).into_iter().flat_map(|sources| sources.range(first.clone()..));
        sources.map(|(source, _)| source).take_while(|source| source.kind == kind).cloned().collect()
    }

    fn sources(&self, id: &ObjectId, role: Role) -> Option<&BTreeMap<ObjectId, u32>> {
        self.referrers.get(&(*self.nodes.get(id)?, role))
    }

    pub(crate) fn permits(&self, source: &ObjectId, target: &ObjectId) -> bool {
        self.grants.permit(source, target)
    }

    /// Every object and placeholder, sorted.
    #[must_use]
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<_> = self.graph.node_weights().collect();
        nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    /// Every reference, sorted by its source and field.
    #[must_use]
    pub fn edges(&self) -> Vec<(&ObjectId, &Edge)> {
        let ids = self.nodes().into_iter().map(|node| &node.id);
        ids.flat_map(|id| self.outgoing(id).into_iter().map(move |edge| (id, edge))).collect()
    }

    fn node(&mut self, id: &ObjectId) -> NodeIndex {
        if let Some(node) = self.nodes.get(id) {
            return *node;
        }
        let node = self.graph.add_node(Node { id: id.clone(), present: false });
        self.nodes.insert(id.clone(), node);
        node
    }

    fn set_references(&mut self, source: NodeIndex, references: Vec<Reference>, changed: &mut Vec<Fact>) {
        let id = self.graph[source].id.clone();
        let before: Vec<(EdgeIndex, NodeIndex)> =
            self.graph.edges(source).map(|edge| (edge.id(), edge.target())).collect();
        let had_unsupported = self.unsupported.remove(&id).unwrap_or_default();
        // What stands as it stood is left alone: a route that gets another backend costs nothing at its Gateway.
        let mut new: Vec<(u32, Reference)> = (0..).zip(references).collect();
        let mut gone = Vec::new();
        for (edge, target) in before {
            let stood = &self.graph[edge];
            let stands = new.iter().position(|(position, reference)| {
                *position == stood.position
                    && reference.role == stood.role
                    && reference.path == stood.path
                    && reference.target == stood.target
            });
            match stands {
                Some(at) => drop(new.swap_remove(at)),
                None => gone.push((edge, target)),
            }
        }
        new.sort_unstable_by_key(|(position, _)| *position);
        let mut unsupported = Vec::new();
        let any_gone = !gone.is_empty();
        let mut any_new = false;
        for (edge, target) in gone {
            self.remove_edge(edge, target, &id, changed);
        }
        for (position, Reference { role, path, target }) in new {
            match &target {
                Target::Object(target_id) => {
                    any_new = true;
                    let target_id = target_id.clone();
                    let node = self.node(&target_id);
                    let verdict = self.decide(&id, role, &target_id);
                    let edge = self.graph.add_edge(source, node, Edge { role, path, target, verdict, position });
                    *self.referrers.entry((node, role)).or_default().entry(id.clone()).or_default() += 1;
                    if reference::needs_grant(role) && target_id.namespace != id.namespace {
                        self.crossing.entry(target_id.namespace.clone()).or_default().insert(edge);
                    }
                    changed.push(Fact::Incoming(target_id, role));
                }
                Target::Unsupported { .. } => {
                    unsupported.push(Edge { role, path, target, verdict: Verdict::NotSupported, position });
                }
            }
        }
        let same = !any_gone && !any_new && unsupported == had_unsupported;
        if !unsupported.is_empty() {
            self.unsupported.insert(id.clone(), unsupported);
        }
        if !same {
            changed.push(Fact::Outgoing(id));
        }
    }

    fn remove_edge(&mut self, edge: EdgeIndex, target: NodeIndex, source: &ObjectId, changed: &mut Vec<Fact>) {
        let target_id = self.graph[target].id.clone();
        if let Some(edges) = self.crossing.get_mut(&target_id.namespace) {
            edges.remove(&edge);
        }
        if let Some(edge) = self.graph.remove_edge(edge) {
            if let Some(sources) = self.referrers.get_mut(&(target, edge.role)) {
                if let Some(count) = sources.get_mut(source) {
                    *count -= 1;
                    if *count == 0 {
                        sources.remove(source);
                    }
                }
                if sources.is_empty() {
                    self.referrers.remove(&(target, edge.role));
                }
            }
            changed.push(Fact::Incoming(target_id, edge.role));
        }
        self.forget_if_unneeded(target);
    }

    fn decide(&self, source: &ObjectId, role: Role, target: &ObjectId) -> Verdict {
        let crossing = reference::needs_grant(role) && target.namespace != source.namespace;
        if crossing && !self.grants.permit(source, target) {
            return Verdict::NotPermitted;
        }
        let present = self.nodes.get(target).is_some_and(|node| self.graph[*node].present);
        if present { Verdict::Allowed } else { Verdict::NotFound }
    }

    fn decide_incoming(&mut self, node: NodeIndex, changed: &mut Vec<Fact>) {
        let edges: Vec<_> = self.graph.edges_directed(node, Direction::Incoming).map(|edge| edge.id()).collect();
        for edge in edges {
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
        let source = self.graph[source].id.clone();
        let target = self.graph[target].id.clone();
        let verdict = self.decide(&source, self.graph[edge].role, &target);
        if self.graph[edge].verdict != verdict {
            self.graph[edge].verdict = verdict;
            changed.push(Fact::Outgoing(source));
        }
    }

    fn forget_if_unneeded(&mut self, node: NodeIndex) {
        let Some(weight) = self.graph.node_weight(node) else { return };
        if !weight.present && self.graph.edges_directed(node, Direction::Incoming).next().is_none() {
            let id = weight.id.clone();
            self.graph.remove_node(node);
            self.nodes.remove(&id);
        }
    }
}
