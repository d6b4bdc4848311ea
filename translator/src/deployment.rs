//! What whoever runs a Gateway's Envoys must know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinds::envoy_gateway::EnvoyProxySpec;
use kinds::gateway::{GatewayAddress, GatewaySpec};
use kinds::{Kind, ObjectId};
use smol_str::SmolStr;

use crate::addresses::{self, Verdict as Usable};
use crate::attach::Plan;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Target, Verdict};
use crate::policy::{merge, proxy};

/// The annotation of a Gateway that says who runs its Envoys: `external` for somebody else.
const ENVOYS: &str = "chancery.dev/envoys";

/// The wishes of a Gateway of ours about the Envoys that run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Of the Gateway, where it came from an API server.
    pub uid: Option<SmolStr>,
    pub class: SmolStr,
    /// Unless the Gateway says that somebody else runs its Envoys.
    pub managed: bool,
    /// For everything that is made for the Gateway.
    pub labels: BTreeMap<SmolStr, SmolStr>,
    pub annotations: BTreeMap<SmolStr, SmolStr>,
    /// The ports of usable listeners, those of ListenerSets among them.
    pub ports: BTreeSet<DeployedPort>,
    /// Of those that it asks for, the ones that it may have.
    pub addresses: Vec<GatewayAddress>,
    pub parameters: Parameters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeployedPort {
    pub number: u16,
    pub udp: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    Default,
    /// The EnvoyProxy in force.
    Proxy(Arc<EnvoyProxySpec>),
    /// The Gateway or its class names parameters that cannot be read. What runs is better left as it is.
    Broken,
}

pub(crate) fn evaluate(gateway: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(gateway) else { return Outcome::default() };
    let Some(spec) = object.spec::<GatewaySpec>() else { return Outcome::default() };
    let Some(plan) = view.made::<Plan>(UnitId::Plan(gateway.clone())).filter(|plan| plan.ours) else {
        return Outcome::default();
    };
    // What nobody understands starts nothing.
    if object.meta.deleted || object.unread().is_some() {
        return Outcome::default();
    }
    let infrastructure = spec.infrastructure.clone().unwrap_or_default();
    let usable = spec.addresses.iter().filter(|address| addresses::judge(address, view.options) == Usable::Usable);
    let port = |id: crate::engine::PortId| DeployedPort { number: id.number, udp: id.udp };
    let deployment = Deployment {
        uid: object.meta.uid.clone(),
        class: spec.gateway_class_name.clone(),
        managed: object.meta.annotations.get(ENVOYS).is_none_or(|who| who != "external"),
        labels: infrastructure.labels,
        annotations: infrastructure.annotations,
        ports: plan.listeners.iter().filter(|l| l.usable()).map(|l| port(l.port)).collect(),
        addresses: usable.cloned().collect(),
        parameters: parameters(gateway, spec, view),
    };
    Product::Deployment(deployment.into()).into()
}

fn parameters(gateway: &ObjectId, spec: &GatewaySpec, view: &View<'_>) -> Parameters {
    let class = ObjectId::new(Kind::GatewayClass, "", spec.gateway_class_name.clone());
    let broken = |source: &ObjectId, path: &str| {
        let Some(edge) = view.reference(source, path) else { return false };
        // Parameters for another controller's proxies say nothing about Envoys of ours.
        matches!(edge.target, Target::Object(_)) && edge.verdict != Verdict::Allowed
    };
    if broken(gateway, "spec.infrastructure.parametersRef") || broken(&class, "spec.parametersRef") {
        return Parameters::Broken;
    }
    let merged = proxy::chain_for(gateway, view).and_then(|chain| merge::merged::<EnvoyProxySpec>(&chain, view));
    merged.map_or(Parameters::Default, |spec| Parameters::Proxy(spec.into()))
}
