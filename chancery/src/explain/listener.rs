//! Which listener and filter chain take a connection.

use prost::Message;
use xds_api::envoy::config::core::v3::address::Address as AddressKind;
use xds_api::envoy::config::core::v3::socket_address::PortSpecifier;
use xds_api::envoy::config::listener::v3::{FilterChain, Listener, filter};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use xds_api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use xds_api::google::protobuf::Any;

use super::{Configuration, Request};

/// Who takes the connection.
pub(crate) enum Taker {
    Nobody,
    /// Layer 4: clusters with their weights.
    Connection(Vec<(String, u32)>),
    Http(Box<HttpConnectionManager>),
}

pub(crate) fn find(configuration: &Configuration, request: &Request, story: &mut Vec<String>) -> Taker {
    let mut taker = None;
    for listener in &configuration.listeners {
        match port(listener) {
            Some(port) if port == request.port && taker.is_none() => {
                story.push(format!("listener {}: takes port {port}", listener.name));
                taker = Some(listener);
            }
            Some(port) => story.push(format!("  passed over: listener {} has port {port}", listener.name)),
            None => story.push(format!("  passed over: listener {} has no port", listener.name)),
        }
    }
    let Some(listener) = taker else {
        story.push(format!("nobody listens on port {}: the connection is refused", request.port));
        return Taker::Nobody;
    };
    let Some(chain) = chain(listener, request.server_name.as_deref(), story) else { return Taker::Nobody };
    let configs = chain.filters.iter().filter_map(|filter| match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    });
    for config in configs {
        if let Some(manager) = decode::<HttpConnectionManager>(config) {
            return Taker::Http(Box::new(manager));
        }
        if let Some(proxy) = decode::<TcpProxy>(config) {
            return Taker::Connection(proxied(proxy));
        }
    }
    story.push("no filter of the chain is one that leads to a backend".to_owned());
    Taker::Nobody
}

/// A message, if it is of this type.
pub(super) fn decode<M: Message + Default + prost::Name>(any: &Any) -> Option<M> {
    if any.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
        return None;
    }
    M::decode(any.value.clone()).ok()
}

fn proxied(proxy: TcpProxy) -> Vec<(String, u32)> {
    match proxy.cluster_specifier {
        Some(tcp_proxy::ClusterSpecifier::Cluster(cluster)) => vec![(cluster, 1)],
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.into_iter().map(|cluster| (cluster.name, cluster.weight)).collect()
        }
        None => Vec::new(),
    }
}

fn port(listener: &Listener) -> Option<u16> {
    let Some(AddressKind::SocketAddress(address)) = listener.address.as_ref()?.address.as_ref() else { return None };
    match address.port_specifier.as_ref()? {
        PortSpecifier::PortValue(port) => u16::try_from(*port).ok(),
        PortSpecifier::NamedPort(_) => None,
    }
}

/// The chain with the most specific server name: the name itself, then wildcards from the longest down, then any.
fn chain<'a>(listener: &'a Listener, server_name: Option<&str>, story: &mut Vec<String>) -> Option<&'a FilterChain> {
    let names = |chain: &'a FilterChain| -> &'a [String] {
        chain.filter_chain_match.as_ref().map(|wanted| wanted.server_names.as_slice()).unwrap_or_default()
    };
    let with = |name: &str| listener.filter_chains.iter().find(|chain| names(chain).iter().any(|other| other == name));
    let server_name = server_name.unwrap_or_default().to_ascii_lowercase();
    let wildcards = server_name.match_indices('.').map(|(dot, _)| format!("*{}", &server_name[dot..]));
    let mut candidates = std::iter::once(server_name.clone()).chain(wildcards).filter(|name| !name.is_empty());
    let named = candidates.find_map(|name| with(&name).map(|chain| (chain, format!("server name {name}"))));
    let any = || {
        let any = listener.filter_chains.iter().find(|chain| names(chain).is_empty());
        any.map(|chain| (chain, "any server name".to_owned()))
    };
    let fallback = || listener.default_filter_chain.as_ref().map(|chain| (chain, "whatever no other takes".to_owned()));
    let chosen = named.or_else(any).or_else(fallback);
    for chain in &listener.filter_chains {
        if chosen.as_ref().is_none_or(|(taken, _)| !std::ptr::eq(*taken, chain)) {
            let wanted = if names(chain).is_empty() { "any server name".to_owned() } else { names(chain).join(", ") };
            story.push(format!("  passed over: filter chain {} takes {wanted}", chain.name));
        }
    }
    match chosen {
        Some((chain, why)) => {
            story.push(format!("filter chain {}: takes {why}", chain.name));
            Some(chain)
        }
        None => {
            story.push(format!("no filter chain takes server name {server_name:?}: the connection is closed"));
            None
        }
    }
}
