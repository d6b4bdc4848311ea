//! An Envoy listener: everything of a Gateway on one port.

use kinds::ObjectId;
use kinds::envoy_gateway::{ClientTrafficPolicySpec, EnvoyProxySpec};
use xds_api::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, UdpListenerConfig, listener_filter,
};
use xds_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use xds_api::{Resource, ResourceType, any};

use super::build::{boolean, duration, socket, uint32};
use super::downstream_tls;
use super::filters;
use super::http::{Asked, connection_manager};
use crate::attach::{Plan, PlannedListener, Protocol};
use crate::engine::{Outcome, PortId, Product, UnitId, View};
use crate::names::HcmName;
use crate::options::LimitService;
use crate::policy::client;
use crate::policy::extension::Written;
use crate::policy::proxy::{self, Additions};

/// Room for long prompts in whatever reads a body as a whole.
const BUFFER_BYTES: u32 = 32 << 20;

pub(crate) fn evaluate(gateway: &ObjectId, port: PortId, view: &View<'_>) -> Outcome {
    let Some(plan) = view.made::<Plan>(UnitId::Plan(gateway.clone())) else { return Outcome::default() };
    let listeners: Vec<&PlannedListener> = plan.listeners.iter().filter(|l| l.usable() && l.port == port).collect();
    let Some(first) = listeners.first() else { return Outcome::default() };
    let name = name(first);
    let mut envoy = Listener {
        name: name.clone(),
        address: Some(socket("0.0.0.0", port.number, port.udp)),
        per_connection_buffer_limit_bytes: Some(uint32(BUFFER_BYTES)),
        ..Listener::default()
    };
    let mut demands = Vec::new();
    let chain = proxy::chain_for(gateway, view);
    let proxy = chain.as_ref().and_then(|chain| Written::<EnvoyProxySpec>::read(chain, view));
    let mut additions = Additions::default();
    let settlements = matches!(view.options.limits, LimitService::Embedded(_));
    let patched = crate::patch::any(gateway, view);
    let plain: Vec<&PlannedListener> = listeners.iter().copied().filter(|l| l.protocol == Protocol::Http).collect();
    let policies = |listener: &PlannedListener| {
        if listener.protocol == Protocol::Http {
            client::spec_for(&plain, view)
        } else {
            client::spec_for(&[listener], view)
        }
    };
    if first.protocol == Protocol::Http {
        let policy = policies(first);
        let asked = Asked { client: policy, proxy: proxy.as_ref(), settlements, patched };
        demands.push(filters::limits::unit(gateway));
        let hcm = HcmName { gateway: gateway.clone(), port: port.number, listener: None }.into();
        envoy.default_filter_chain = Some(FilterChain {
            name: name.clone(),
            filters: network_filters(&name, policy, connection_manager(&hcm, false, &asked, &mut additions)),
            ..FilterChain::default()
        });
    }
    for listener in &listeners {
        match listener.protocol {
            Protocol::Https => {
                demands.extend(downstream_tls::secrets(gateway, listener, view));
                let policy = policies(listener);
                let asked = Asked { client: policy, proxy: proxy.as_ref(), settlements, patched };
                demands.push(filters::limits::unit(gateway));
                let manager = connection_manager(&listener.hcm, true, &asked, &mut additions);
                let handshake = policy.and_then(|policy| policy.timeout.as_ref()?.tcp.as_ref()?.tls_handshake_timeout);
                envoy.filter_chains.push(FilterChain {
                    name: self::name(listener),
                    filter_chain_match: server_names(listener),
                    filters: network_filters(&self::name(listener), policy, manager),
                    transport_socket_connect_timeout: handshake.map(|time| duration(time.0)),
                    transport_socket: Some(downstream_tls::socket(listener, true, view)),
                    ..FilterChain::default()
                });
            }
            Protocol::Tcp | Protocol::TlsPassthrough | Protocol::TlsTerminate | Protocol::Udp => {
                demands.extend(crate::l4::add(&mut envoy, listener, view));
            }
            Protocol::Http | Protocol::Unknown => {}
        }
    }
    // Without a route there is nobody to take connections, and Envoy refuses a listener that has no chain.
    let takes_nothing =
        envoy.default_filter_chain.is_none() && envoy.filter_chains.is_empty() && envoy.listener_filters.is_empty();
    if takes_nothing {
        return Outcome { demands, ..Outcome::default() };
    }
    let reads_server_name = listeners
        .iter()
        .any(|l| matches!(l.protocol, Protocol::Https | Protocol::TlsPassthrough | Protocol::TlsTerminate));
    if reads_server_name {
        let (ja3, ja4) = listeners
            .iter()
            .map(|listener| client::tls::fingerprints(policies(listener)))
            .fold((false, false), |all, one| (all.0 || one.0, all.1 || one.1));
        let inspector = TlsInspector {
            enable_ja3_fingerprinting: ja3.then(|| boolean(true)),
            enable_ja4_fingerprinting: ja4.then(|| boolean(true)),
            ..TlsInspector::default()
        };
        envoy.listener_filters.push(ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".to_owned(),
            config_type: Some(listener_filter::ConfigType::TypedConfig(any(&inspector))),
            ..ListenerFilter::default()
        });
    }
    // What concerns connections is the port's: the first listener that says it decides.
    if let Some(policy) = listeners.iter().find_map(|listener| policies(listener)) {
        client::listener::apply(policy, &mut envoy);
    }
    if let Some(proxy) = &proxy {
        additions.apply_to_listener(proxy, &mut envoy);
    }
    demands.extend(additions.upstreams.iter().map(|upstream| upstream.unit(gateway)));
    if port.udp {
        envoy.udp_listener_config = Some(UdpListenerConfig::default());
        envoy.enable_reuse_port = Some(boolean(true));
    }
    let product = Product::Resource(Resource::encode(ResourceType::Listener, &name, &envoy));
    Outcome { product, demands, diagnostics: Vec::new() }
}

fn network_filters(name: &str, policy: Option<&ClientTrafficPolicySpec>, manager: Filter) -> Vec<Filter> {
    let limit = policy.and_then(|policy| client::listener::connection_limit(policy, &name.replace('/', "-")));
    limit.into_iter().chain([manager]).collect()
}

/// The name that Envoy Gateway gives it, so that patches written for it apply.
pub(crate) fn name(listener: &PlannedListener) -> String {
    let id = &listener.id;
    if id.owner == id.gateway {
        format!("{}/{}/{}", id.gateway.namespace, id.gateway.name, id.section)
    } else {
        let owner = &id.owner;
        format!("{}/{}/{}/{}/{}", id.gateway.namespace, id.gateway.name, owner.namespace, owner.name, id.section)
    }
}

pub(crate) fn server_names(listener: &PlannedListener) -> Option<FilterChainMatch> {
    let hostname = listener.hostname.as_ref()?;
    Some(FilterChainMatch { server_names: vec![hostname.to_string()], ..FilterChainMatch::default() })
}
