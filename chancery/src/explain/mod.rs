//! Which way a request takes through an Envoy, and why.
//!
//! It is read off the resources that Envoys are sent, by Envoy's own rules of matching, so that it cannot tell another
//! story than they do: [`listener`] finds the filter chain, [`tables`] the route table and the route, [`matching`]
//! decides one route.

mod backend;
mod listener;
mod matching;
mod request;
mod tables;

use std::collections::BTreeMap;

use prost::Message;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use xds_api::envoy::config::listener::v3::Listener;
use xds_api::envoy::config::route::v3::{
    RouteConfiguration, ScopedRouteConfiguration, scoped_route_configuration::key,
};
use xds_api::{Resource, ResourceType};

pub(crate) use request::Request;

/// What an Envoy of one Gateway is sent, decoded.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    listeners: Vec<Listener>,
    /// The table of each scope key.
    scopes: BTreeMap<String, String>,
    tables: BTreeMap<String, RouteConfiguration>,
    clusters: BTreeMap<String, Cluster>,
    endpoints: BTreeMap<String, ClusterLoadAssignment>,
}

impl Configuration {
    pub(crate) fn decode(resources: &[Resource]) -> anyhow::Result<Self> {
        let mut decoded = Self::default();
        for resource in resources {
            let name = resource.name.to_string();
            let body = resource.body.clone();
            match resource.kind {
                ResourceType::Listener => decoded.listeners.push(Listener::decode(body)?),
                ResourceType::RouteConfiguration => {
                    drop(decoded.tables.insert(name, RouteConfiguration::decode(body)?));
                }
                ResourceType::Cluster => drop(decoded.clusters.insert(name, Cluster::decode(body)?)),
                ResourceType::Endpoints => drop(decoded.endpoints.insert(name, ClusterLoadAssignment::decode(body)?)),
                ResourceType::ScopedRoute => {
                    let scope = ScopedRouteConfiguration::decode(body)?;
                    let fragments = scope.key.into_iter().flat_map(|key| key.fragments);
                    let texts = fragments.filter_map(|fragment| fragment.r#type);
                    let key: Vec<String> = texts.map(|key::fragment::Type::StringKey(text)| text).collect();
                    decoded.scopes.insert(key.concat(), scope.route_configuration_name);
                }
                _ => {}
            }
        }
        Ok(decoded)
    }
}

/// The steps of a request, one line each; what does not apply is said with its reason.
pub(crate) fn explain(configuration: &Configuration, request: &Request) -> Vec<String> {
    let mut story = Vec::new();
    match listener::find(configuration, request, &mut story) {
        listener::Taker::Nobody => {}
        listener::Taker::Connection(clusters) => backend::tell(configuration, &clusters, &mut story),
        listener::Taker::Http(manager) => tables::follow(configuration, &manager, request, &mut story),
    }
    story
}
