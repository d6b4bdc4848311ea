//! TLSRoute, TCPRoute and UDPRoute: connections and datagrams, by server name or not at all.
//!
//! Here routes are part of the listener: there is no table to put them in. What a route changes is its own filter chain.

use std::collections::BTreeMap;

use kinds::gateway::{BackendRef, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, filter, listener_filter,
};
use xds_api::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use xds_api::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight,
};
use xds_api::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::RouteSpecifier;
use xds_api::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use xds_api::google::protobuf::Any;

use xds_api::xds::core::v3::TypedExtensionConfig;
use xds_api::xds::r#type::matcher::v3::Matcher;
use xds_api::xds::r#type::matcher::v3::matcher::{OnMatch, on_match};

use crate::attach::{PlannedListener, Protocol};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{ClusterId, UNRESOLVED_CLUSTER, connected_as};
use crate::policy::security::network::{self, Connections};
use crate::render::{downstream_tls, matcher};
use crate::routing::{AttachedRules, Ruled, fallback, judge, resolve_backend};

/// Where a route of layer 4 sends connections: clusters with their weights, none for a share that is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub route: ObjectId,
    pub created: Option<SmolStr>,
    pub shares: Vec<(Option<ClusterId>, u32)>,
    /// A filter that lets connections in.
    pub guard: Option<Any>,
}

fn backends(route: &Object) -> &[BackendRef] {
    let rules = match route.id.kind {
        Kind::TlsRoute => route.spec::<TlsRouteSpec>().map(|spec| spec.rules.as_slice()),
        Kind::TcpRoute => route.spec::<TcpRouteSpec>().map(|spec| spec.rules.as_slice()),
        Kind::UdpRoute => route.spec::<UdpRouteSpec>().map(|spec| spec.rules.as_slice()),
        _ => None,
    };
    // Gateway API allows one rule: there is nothing by which to choose between two.
    rules.and_then(|rules| rules.first()).map(|rule| rule.backend_refs.as_slice()).unwrap_or_default()
}

pub(crate) fn evaluate(
    route: &Object,
    listener: &PlannedListener,
    hostnames: Vec<SmolStr>,
    view: &View<'_>,
) -> Outcome {
    let path = FieldPath::from("spec.rules[0].backendRefs");
    let ruled = Ruled::gather(&route.id, &listener.id, view);
    let policies = ruled.rule(0);
    let connections = policies.connections();
    let problems = judge(route, view).problems;
    let refused = connections == Connections::Closed || problems.iter().any(|problem| problem.condition == "Accepted");
    let resolved = backends(route).iter().enumerate().map(|(index, reference)| {
        let cluster = resolve_backend(route, path.index(index).as_str(), reference, false, view).ok();
        let cluster = cluster.filter(|_| !refused);
        (cluster.map(|cluster| connected_as(cluster, policies.settings())), reference.weight)
    });
    let shares = taking_over(resolved.collect(), view);
    let gateway = &listener.id.gateway;
    let clusters = shares.iter().filter_map(|(cluster, _)| cluster.clone());
    let mut demands: Vec<UnitId> = clusters.map(|cluster| UnitId::Cluster(gateway.clone(), cluster)).collect();
    demands.push(UnitId::Port(gateway.clone(), listener.port));
    let guard = if let Connections::Guarded(config) = connections { Some(config) } else { None };
    let target = Target { route: route.id.clone(), created: route.meta.created.clone(), shares, guard };
    let rules = AttachedRules { hostnames, l4: Some(target), problems, ..AttachedRules::default() };
    Outcome { product: Product::Attached(rules.into()), demands, diagnostics: Vec::new() }
}

/// Where one backend is there to take over from the others, they are one cluster.
fn taking_over(shares: Vec<(Option<ClusterId>, u32)>, view: &View<'_>) -> Vec<(Option<ClusterId>, u32)> {
    let weighted = shares.iter().filter(|(_, weight)| *weight > 0).filter_map(|(cluster, weight)| {
        let cluster = cluster.as_ref()?;
        Some((cluster, *weight, fallback::is(&cluster.backend, view)))
    });
    match fallback::cluster(weighted) {
        Some(together) => vec![(Some(together), 1)],
        None => shares,
    }
}

/// The route of each hostname of a listener: the oldest that names it.
fn targets<'a>(listener: &PlannedListener, view: &View<'a>) -> BTreeMap<SmolStr, &'a Target> {
    let mut chosen: BTreeMap<SmolStr, &Target> = BTreeMap::new();
    for unit in view.demanders() {
        let UnitId::Attached(_, at) = unit.id else { continue };
        if at != &listener.id {
            continue;
        }
        let Some(rules) = view.made_by::<AttachedRules>(unit) else { continue };
        let Some(target) = &rules.l4 else { continue };
        for host in &rules.hostnames {
            let place = chosen.entry(host.clone()).or_insert(target);
            let age = |target: &Target| (target.created.is_none(), target.created.clone(), target.route.clone());
            if age(target) < age(place) {
                *place = target;
            }
        }
    }
    chosen
}

/// Adds a listener's filter chains; returns what they refer to.
pub(crate) fn add(envoy: &mut Listener, listener: &PlannedListener, view: &View<'_>) -> Vec<UnitId> {
    let terminates = listener.protocol.terminates_tls();
    let name = crate::render::listener::name(listener);
    for (host, target) in targets(listener, view) {
        let stat_prefix = format!(
            "{}/{}/{}",
            target.route.kind.name().to_ascii_lowercase(),
            target.route.namespace,
            target.route.name
        );
        if listener.protocol == Protocol::Udp {
            envoy.listener_filters.push(udp_filter(&stat_prefix, target));
            continue;
        }
        let guard = target.guard.iter().map(network::filter);
        let filters = guard.chain([tcp_filter(&stat_prefix, target)]).collect();
        let by_name = matches!(listener.protocol, Protocol::TlsPassthrough | Protocol::TlsTerminate);
        let server_names = if by_name && host != "*" { vec![host.to_string()] } else { Vec::new() };
        let tls_only = if by_name { "tls".to_owned() } else { String::new() };
        envoy.filter_chains.push(FilterChain {
            name: format!("{name}/{host}"),
            filter_chain_match: by_name.then(|| FilterChainMatch {
                server_names,
                transport_protocol: tls_only,
                ..FilterChainMatch::default()
            }),
            filters,
            transport_socket: terminates.then(|| downstream_tls::socket(listener, false, view)),
            ..FilterChain::default()
        });
    }
    if terminates { downstream_tls::secrets(&listener.id.gateway, listener, view) } else { Vec::new() }
}

/// A matcher without any question: every datagram takes the action.
fn always(action: &Route) -> Matcher {
    let action = TypedExtensionConfig { name: "route".to_owned(), typed_config: Some(any(action)) };
    Matcher {
        on_no_match: Some(Box::new(OnMatch {
            on_match: Some(on_match::OnMatch::Action(action)),
            ..OnMatch::default()
        })),
        ..Matcher::default()
    }
}

fn cluster_name(cluster: Option<&ClusterId>) -> String {
    cluster.map_or(UNRESOLVED_CLUSTER.to_owned(), ToString::to_string)
}

fn tcp_filter(stat_prefix: &str, target: &Target) -> Filter {
    let weighted: Vec<_> = target.shares.iter().filter(|(_, weight)| *weight > 0).collect();
    let specifier = match weighted.as_slice() {
        [] => ClusterSpecifier::Cluster(UNRESOLVED_CLUSTER.to_owned()),
        [(cluster, _)] => ClusterSpecifier::Cluster(cluster_name(cluster.as_ref())),
        several => {
            let clusters = several.iter().map(|(cluster, weight)| ClusterWeight {
                name: cluster_name(cluster.as_ref()),
                weight: *weight,
                ..ClusterWeight::default()
            });
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: clusters.collect() })
        }
    };
    let proxy =
        TcpProxy { stat_prefix: stat_prefix.to_owned(), cluster_specifier: Some(specifier), ..TcpProxy::default() };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&proxy))),
    }
}

/// The proxy knows no weighted clusters. A client's datagrams go where the hash of its port falls, one backend after the
/// other taking its share of what is left.
fn shared(target: &Target) -> Matcher {
    let weighted: Vec<_> = target.shares.iter().filter(|(_, weight)| *weight > 0).collect();
    let route = |cluster: Option<&ClusterId>| Route { cluster: cluster_name(cluster) };
    let Some(((last, _), before)) = weighted.split_last() else { return always(&route(None)) };
    if before.is_empty() {
        return always(&route(last.as_ref()));
    }
    let mut left: u64 = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut rules = Vec::new();
    for (seed, (cluster, weight)) in (1..).zip(before) {
        let millionths = u64::from(*weight) * 1_000_000 / left;
        let share = matcher::share_of_sources(u32::try_from(millionths).unwrap_or(u32::MAX), seed);
        rules.push((share, any(&route(cluster.as_ref()))));
        left -= u64::from(*weight);
    }
    matcher::first_of(rules, Some(any(&route(last.as_ref()))))
}

fn udp_filter(stat_prefix: &str, target: &Target) -> ListenerFilter {
    let proxy = UdpProxyConfig {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(RouteSpecifier::Matcher(shared(target))),
        ..UdpProxyConfig::default()
    };
    ListenerFilter {
        name: "envoy.filters.udp_listener.udp_proxy".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&proxy))),
        ..ListenerFilter::default()
    }
}
