//! What a policy says about connections, before anything is known of what they carry.

use kinds::envoy_gateway::ClientTrafficPolicySpec;
use kinds::envoy_gateway::shared::TcpKeepalive;
use xds_api::any;
use xds_api::envoy::config::core::v3::{SocketOption, socket_option};
use xds_api::envoy::config::listener::v3::{Filter, Listener, ListenerFilter, filter, listener_filter};
use xds_api::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use xds_api::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use xds_api::google::protobuf::UInt64Value;

use crate::render::build::{duration, uint32};

// The numbers that Linux gives to the levels and names of socket options.
const SOL_SOCKET: i64 = 1;
const SO_KEEPALIVE: i64 = 9;
const IPPROTO_TCP: i64 = 6;
const TCP_KEEPIDLE: i64 = 4;
const TCP_KEEPINTVL: i64 = 5;
const TCP_KEEPCNT: i64 = 6;

pub(crate) fn apply(spec: &ClientTrafficPolicySpec, listener: &mut Listener) {
    if let Some(connection) = &spec.connection {
        if let Some(limit) = connection.buffer_limit {
            listener.per_connection_buffer_limit_bytes = Some(uint32(limit.to_u32()));
        }
        listener.max_connections_to_accept_per_socket_event = connection.max_accept_per_socket_event.map(uint32);
    }
    if let Some(keepalive) = &spec.tcp_keepalive {
        listener.socket_options.extend(socket_options(keepalive));
    }
    let tcp = spec.timeout.as_ref().and_then(|timeout| timeout.tcp.as_ref());
    if let Some(time) = tcp.and_then(|tcp| tcp.connection_inspection_timeout) {
        listener.listener_filters_timeout = Some(duration(time.0));
    }
    let optional = spec.proxy_protocol.as_ref().map(|proxy| proxy.optional == Some(true));
    if let Some(optional) = optional.or((spec.enable_proxy_protocol == Some(true)).then_some(false)) {
        let config = ProxyProtocol { allow_requests_without_proxy_protocol: optional, ..ProxyProtocol::default() };
        // It comes before the handshake: the first of all to read.
        listener.listener_filters.insert(
            0,
            ListenerFilter {
                name: "envoy.filters.listener.proxy_protocol".to_owned(),
                config_type: Some(listener_filter::ConfigType::TypedConfig(any(&config))),
                ..ListenerFilter::default()
            },
        );
    }
}

/// The filter that counts connections, if they are limited.
pub(crate) fn connection_limit(spec: &ClientTrafficPolicySpec, name: &str) -> Option<Filter> {
    let limit = spec.connection.as_ref()?.connection_limit.as_ref()?;
    let config = ConnectionLimit {
        stat_prefix: name.to_owned(),
        max_connections: Some(UInt64Value { value: limit.value? }),
        delay: limit.close_delay.map(|time| duration(time.0)),
        ..ConnectionLimit::default()
    };
    Some(Filter {
        name: "envoy.filters.network.connection_limit".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    })
}

fn socket_options(written: &TcpKeepalive) -> Vec<SocketOption> {
    let option = |level, name, value| SocketOption {
        level,
        name,
        value: Some(socket_option::Value::IntValue(value)),
        ..SocketOption::default()
    };
    let seconds = |time: kinds::gateway::Duration| i64::try_from(time.0.as_secs()).unwrap_or(i64::MAX);
    let mut options = vec![option(SOL_SOCKET, SO_KEEPALIVE, 1)];
    options.extend(written.probes.map(|count| option(IPPROTO_TCP, TCP_KEEPCNT, i64::from(count))));
    options.extend(written.idle_time.map(|time| option(IPPROTO_TCP, TCP_KEEPIDLE, seconds(time))));
    options.extend(written.interval.map(|time| option(IPPROTO_TCP, TCP_KEEPINTVL, seconds(time))));
    options
}
