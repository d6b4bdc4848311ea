//! ClientTrafficPolicy: how the clients of a listener are met.
//!
//! It is a part of the listener, so that an edit of it replaces the listener: connections of the old one drain.
//!
//! The plain HTTP listeners of a port are one to Envoy. A policy about one of several is refused: it would be about all.

pub(crate) mod hcm;
pub(crate) mod listener;
pub(crate) mod tls;

use kinds::envoy_gateway::ClientTrafficPolicySpec;
use kinds::{FieldPath, Kind, ObjectId};

use super::security::cidr;
use super::{Policies, Problem, Targets};
use crate::attach::{Plan, PlannedListener, Protocol};
use crate::engine::{UnitId, View};

/// The policy in force for a listener: about the listener itself before about all of its owner's, and about a
/// ListenerSet before about the Gateway.
pub(crate) fn policy_for<'a>(listener: &PlannedListener, view: &View<'a>) -> Option<&'a ObjectId> {
    let of = |object: &ObjectId, section: Option<&str>| {
        let policies = view.made::<Policies>(UnitId::Policies(object.clone()))?;
        policies.winner(Kind::ClientTrafficPolicy, section)
    };
    let id = &listener.id;
    let own = of(&id.owner, Some(&id.section)).or_else(|| of(&id.owner, None));
    if id.owner == id.gateway { own } else { own.or_else(|| of(&id.gateway, None)) }
}

/// What the policy says about listeners that are one to Envoy. A policy that is refused says nothing.
pub(crate) fn spec_for<'a>(listeners: &[&PlannedListener], view: &View<'a>) -> Option<&'a ClientTrafficPolicySpec> {
    let policy = policy_for(listeners.first()?, view)?;
    let rest = listeners.get(1..).unwrap_or_default();
    if rest.iter().any(|other| policy_for(other, view) != Some(policy)) || !problems(policy, view).is_empty() {
        return None;
    }
    view.spec::<ClientTrafficPolicySpec>(policy)
}

pub(crate) fn problems(policy: &ObjectId, view: &View<'_>) -> Vec<Problem> {
    let Some(spec) = view.spec::<ClientTrafficPolicySpec>(policy) else { return Vec::new() };
    let base = FieldPath::spec();
    if let Some(refusal) = view.object(policy).and_then(|object| object.unread()) {
        return vec![Problem::wrong(base, refusal.message.clone())];
    }
    let mut found = Vec::new();
    if spec.http3.is_some() {
        let message = "listeners are TCP only: HTTP/3 is not served";
        found.push(Problem::unsupported(base.field("http3"), message));
    }
    let connection = spec.connection.as_ref();
    if connection.is_some_and(|connection| connection.socket_buffer_limit.is_some()) {
        let message = "Envoy has no limit of its own for sockets: set connection.bufferLimit";
        found.push(Problem::unsupported(base.field("connection").field("socketBufferLimit"), message));
    }
    let forwarded = spec.client_ip_detection.as_ref().and_then(|detection| detection.x_forwarded_for.as_ref());
    for (index, range) in forwarded.iter().flat_map(|forwarded| forwarded.trusted_cidrs.iter().enumerate()) {
        if cidr(range).is_none() {
            let path = base.field("clientIPDetection").field("xForwardedFor").field("trustedCIDRs").index(index);
            found.push(Problem::wrong(path, format!("`{range}` is not a range of addresses")));
        }
    }
    found.extend(tls::problems(policy, spec, view));
    found.extend(shared_port(policy, view));
    found
}

/// A policy about one of several plain HTTP listeners of a port.
fn shared_port(policy: &ObjectId, view: &View<'_>) -> Option<Problem> {
    let targets = view.made::<Targets>(UnitId::Targets(policy.clone()))?;
    targets.0.iter().find_map(|target| {
        let section = target.section.as_ref()?;
        let gateway = match target.object.kind {
            Kind::Gateway => target.object.clone(),
            _ => crate::attach::gateway_of(&target.object, view)?,
        };
        let plan = view.made::<Plan>(UnitId::Plan(gateway))?;
        let listeners = || plan.listeners.iter().filter(|l| l.usable() && l.protocol == Protocol::Http);
        let own = listeners().find(|l| l.id.owner == target.object && l.id.section == *section)?;
        let other = listeners().find(|l| l.id != own.id && l.port == own.port)?;
        let message = format!("listener {} is on the same port and not HTTPS: the two are one", other.id.section);
        Some(Problem::wrong(target.path.clone(), message))
    })
}
