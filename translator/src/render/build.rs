//! Small values that Envoy's messages are made of.

use std::time::Duration;

use xds_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, HeaderValue, HeaderValueOption, Pipe,
    SocketAddress, TypedExtensionConfig, address, data_source::Specifier, socket_address,
};
use xds_api::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use xds_api::google::protobuf;

/// Resources that come over the stream this one came over. Waiting for one ends after Envoy's default of 15 s: a wait
/// without end would hold back everything behind it.
pub(crate) fn from_ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

pub(crate) fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

pub(crate) fn seconds(seconds: i64) -> protobuf::Duration {
    protobuf::Duration { seconds, nanos: 0 }
}

pub(crate) fn uint32(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

pub(crate) fn millionths(numerator: u32) -> FractionalPercent {
    FractionalPercent { numerator, denominator: DenominatorType::Million as i32 }
}

pub(crate) fn extension(name: &str, config: protobuf::Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }
}

pub(crate) fn text(content: impl Into<String>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(content.into())), ..DataSource::default() }
}

pub(crate) fn boolean(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}

pub(crate) fn header(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..HeaderValue::default() }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    }
}

pub(crate) fn socket(address: &str, port: u16, udp: bool) -> Address {
    let protocol = if udp { socket_address::Protocol::Udp } else { socket_address::Protocol::Tcp };
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            protocol: protocol as i32,
            address: address.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..SocketAddress::default()
        })),
    }
}

pub(crate) fn unix_socket(path: &str) -> Address {
    Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), mode: 0 })) }
}
