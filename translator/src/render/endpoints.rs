//! The endpoints of a cluster.
//!
//! An assignment is always sent, an empty one where nothing is ready: Envoy then answers 503, and does not wait.

use kinds::core::{EndpointSlice, Service};
use kinds::envoy_gateway::BackendSpec;
use kinds::{Kind, ObjectId};
use smol_str::SmolStr;
use xds_api::envoy::config::core::v3::{Address, HealthStatus, Locality};
use xds_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use xds_api::{Resource, ResourceType};

use super::build::{socket, uint32, unix_socket};
use crate::engine::{Outcome, Product, View};
use crate::graph::Role;
use crate::names::ClusterId;
use crate::policy::traffic;

/// Endpoints by zone and address: the same address in two slices is one endpoint, ready when one of them says so.
#[derive(Default)]
pub(crate) struct Zones(Vec<(SmolStr, SmolStr, u16, LbEndpoint)>);

impl Zones {
    pub(crate) fn add(&mut self, zone: &str, (address, port): (&str, u16), endpoint: LbEndpoint) {
        self.0.push((zone.into(), address.into(), port, endpoint));
    }

    /// In the order of zones, each with its endpoints in the order of addresses.
    pub(crate) fn into_sorted(self) -> Vec<(SmolStr, Vec<LbEndpoint>)> {
        let Self(mut all) = self;
        all.sort_by(|a, b| (&a.0, &a.1, a.2, a.3.health_status).cmp(&(&b.0, &b.1, b.2, b.3.health_status)));
        all.dedup_by(|later, first| (&later.0, &later.1, later.2) == (&first.0, &first.1, first.2));
        let mut zones: Vec<(SmolStr, Vec<LbEndpoint>)> = Vec::new();
        for (zone, _, _, endpoint) in all {
            match zones.last_mut() {
                Some((last, endpoints)) if *last == zone => endpoints.push(endpoint),
                _ => zones.push((zone, vec![endpoint])),
            }
        }
        zones
    }
}

/// The endpoints of a Service or a Backend.
pub(crate) fn zones(id: &ClusterId, view: &View<'_>) -> Zones {
    match id.backend.kind {
        Kind::Service => of_service(&id.backend, id.port.unwrap_or_default(), view),
        Kind::Backend => of_backend(&id.backend, view),
        _ => Zones::default(),
    }
}

pub(crate) fn evaluate(id: &ClusterId, view: &View<'_>) -> Outcome {
    let name = id.to_string();
    if crate::ai::makes(id) {
        let assignment = ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: crate::ai::localities(id, view),
            ..ClusterLoadAssignment::default()
        };
        return Product::Resource(Resource::encode(ResourceType::Endpoints, &name, &assignment)).into();
    }
    let zones = zones(id, view).into_sorted();
    let plan = id.settings.as_ref().and_then(|settings| traffic::plan(settings, view));
    let weights = traffic::zone_weights(plan.as_ref().and_then(|plan| plan.settings.load_balancer.as_ref()));
    let share = |zone: &SmolStr, count: usize| match weights.get(zone) {
        Some(weight) => *weight,
        None if weights.is_empty() => u32::try_from(count).unwrap_or(u32::MAX),
        None => 1,
    };
    let endpoints = zones.into_iter().map(|(zone, endpoints)| LocalityLbEndpoints {
        locality: (!zone.is_empty()).then(|| Locality { zone: zone.to_string(), ..Locality::default() }),
        load_balancing_weight: Some(uint32(share(&zone, endpoints.len()))),
        lb_endpoints: endpoints,
        ..LocalityLbEndpoints::default()
    });
    let assignment = ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: endpoints.collect(),
        ..ClusterLoadAssignment::default()
    };
    Product::Resource(Resource::encode(ResourceType::Endpoints, &name, &assignment)).into()
}

fn of_service(id: &ObjectId, port: u16, view: &View<'_>) -> Zones {
    let mut zones = Zones::default();
    let service = view.spec::<Service>(id);
    let port = service.and_then(|service| service.spec.ports.iter().find(|candidate| candidate.port == port));
    let Some(port) = port else { return zones };
    for slice in view.referrers(id, Role::Slice) {
        let Some(slice) = view.spec::<EndpointSlice>(slice) else { continue };
        // A slice names its ports as the Service does; the number is the target's own.
        let named = slice.ports.iter().find(|candidate| {
            candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
        });
        let Some(number) = named.and_then(|port| port.port) else { continue };
        for endpoint in &slice.endpoints {
            // Ready serves. Draining keeps its streams and gets no new request, unless nothing else is left.
            let status = if endpoint.is_ready() {
                HealthStatus::Unknown
            } else if endpoint.is_draining() {
                HealthStatus::Draining
            } else {
                continue;
            };
            let zone = endpoint.zone.as_deref().unwrap_or_default();
            for address in &endpoint.addresses {
                zones.add(zone, (address, number), at(socket(address, number, false), status));
            }
        }
    }
    zones
}

fn of_backend(id: &ObjectId, view: &View<'_>) -> Zones {
    let mut zones = Zones::default();
    let Some(backend) = view.spec::<BackendSpec>(id) else { return zones };
    for endpoint in &backend.endpoints {
        let (key, address) = if let Some(ip) = &endpoint.ip {
            ((ip.address.as_str(), ip.port), socket(&ip.address, ip.port, false))
        } else if let Some(unix) = &endpoint.unix {
            ((unix.path.as_str(), 0), unix_socket(&unix.path))
        } else {
            continue;
        };
        let zone = endpoint.zone.as_deref().unwrap_or_default();
        let mut at = at(address, HealthStatus::Unknown);
        if let (Some(name), Some(HostIdentifier::Endpoint(server))) = (endpoint.name(), &mut at.host_identifier) {
            name.clone_into(&mut server.hostname);
        }
        zones.add(zone, key, at);
    }
    zones
}

pub(crate) fn at(address: Address, status: HealthStatus) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint { address: Some(address), ..Endpoint::default() })),
        health_status: status as i32,
        load_balancing_weight: Some(uint32(1)),
        ..LbEndpoint::default()
    }
}
