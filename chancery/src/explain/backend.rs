//! Where a route leads: clusters with their shares, and the endpoints of each.

use translator::UNRESOLVED_CLUSTER;
use xds_api::envoy::config::core::v3::HealthStatus;
use xds_api::envoy::config::core::v3::address::Address as AddressKind;
use xds_api::envoy::config::core::v3::socket_address::PortSpecifier;
use xds_api::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier};
use xds_api::envoy::config::route::v3::route_action::ClusterSpecifier;
use xds_api::envoy::config::route::v3::{RedirectAction, RouteAction};

use super::Configuration;

pub(super) fn route(configuration: &Configuration, action: &RouteAction, story: &mut Vec<String>) {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => tell(configuration, &[(cluster.clone(), 1)], story),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let shares = weighted
                .clusters
                .iter()
                .map(|cluster| (cluster.name.clone(), cluster.weight.as_ref().map_or(0, |weight| weight.value)));
            tell(configuration, &shares.collect::<Vec<_>>(), story);
        }
        Some(ClusterSpecifier::ClusterHeader(header)) => {
            story.push(format!("the cluster is the one that header {header} names"));
        }
        _ => story.push("the cluster is chosen by a plugin".to_owned()),
    }
}

pub(super) fn redirect(redirect: &RedirectAction) -> String {
    let mut parts = Vec::new();
    if !redirect.host_redirect.is_empty() {
        parts.push(format!("host {}", redirect.host_redirect));
    }
    if redirect.port_redirect != 0 {
        parts.push(format!("port {}", redirect.port_redirect));
    }
    if redirect.scheme_rewrite_specifier.is_some() {
        parts.push("another scheme".to_owned());
    }
    if redirect.path_rewrite_specifier.is_some() {
        parts.push("another path".to_owned());
    }
    if parts.is_empty() { "to where it came from".to_owned() } else { parts.join(", ") }
}

/// Each cluster with its share, and what stands behind it.
pub(super) fn tell(configuration: &Configuration, clusters: &[(String, u32)], story: &mut Vec<String>) {
    let total: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return story.push("no backend has a weight: it is answered 500".to_owned());
    }
    for (name, weight) in clusters {
        let tenths = u64::from(*weight) * 1000 / total;
        let share = if clusters.len() == 1 { String::new() } else { format!(" ({}.{} %)", tenths / 10, tenths % 10) };
        story.push(format!("cluster {name}{share}: {}", behind(configuration, name)));
    }
}

fn behind(configuration: &Configuration, name: &str) -> String {
    if name == UNRESOLVED_CLUSTER {
        return "the backend cannot be resolved, its share is answered 500 (see the check command)".to_owned();
    }
    let Some(cluster) = configuration.clusters.get(name) else { return "there is no such cluster".to_owned() };
    let service = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
    let assigned =
        service.and_then(|service| configuration.endpoints.get(if service.is_empty() { name } else { service }));
    match assigned.or(cluster.load_assignment.as_ref()) {
        Some(assigned) => listed(assigned),
        None => "addresses are found when a request arrives".to_owned(),
    }
}

fn listed(assigned: &ClusterLoadAssignment) -> String {
    let all: Vec<String> = assigned
        .endpoints
        .iter()
        .flat_map(|locality| locality.lb_endpoints.iter().map(move |endpoint| (locality.priority, endpoint)))
        .filter_map(|(priority, endpoint)| described(priority, endpoint))
        .collect();
    if all.is_empty() { "no endpoints: it is answered 503".to_owned() } else { all.join(", ") }
}

fn described(priority: u32, endpoint: &LbEndpoint) -> Option<String> {
    let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else { return None };
    let address = match host.address.as_ref()?.address.as_ref()? {
        AddressKind::SocketAddress(socket) => match &socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) if socket.address.contains(':') => {
                format!("[{}]:{port}", socket.address)
            }
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        AddressKind::Pipe(pipe) => pipe.path.clone(),
        AddressKind::EnvoyInternalAddress(_) => "an internal listener".to_owned(),
    };
    let health = match HealthStatus::try_from(endpoint.health_status).unwrap_or(HealthStatus::Unknown) {
        HealthStatus::Unknown | HealthStatus::Healthy => String::new(),
        other => format!(" ({})", other.as_str_name().to_ascii_lowercase()),
    };
    let rank = if priority == 0 { String::new() } else { format!(" (priority {priority})") };
    Some(format!("{address}{health}{rank}"))
}
