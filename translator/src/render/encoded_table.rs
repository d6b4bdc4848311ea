//! A route table put together from routes that are encoded already, so that one changed route costs its own encoding and
//! a copy of its neighbours.
//!
//! The numbers are those of the fields of Envoy's `RouteConfiguration` and `VirtualHost`; a test holds that.

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use xds_api::{Resource, ResourceType};

const TABLE_NAME: u32 = 1;
const TABLE_HOST: u32 = 2;
const HOST_NAME: u32 = 1;
const HOST_DOMAIN: u32 = 2;
const HOST_ROUTE: u32 = 3;

pub(crate) struct EncodedTable<'a> {
    name: &'a str,
    bytes: Vec<u8>,
}

impl<'a> EncodedTable<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        let mut table = Self { name, bytes: Vec::new() };
        table.field(TABLE_NAME, name.as_bytes());
        table
    }

    /// A virtual host for one domain, with its routes in the order in which they are tried.
    pub(crate) fn host<'r>(&mut self, name: &str, domain: &str, routes: impl Iterator<Item = &'r Bytes> + Clone) {
        let routes_length: usize = routes.clone().map(|route| length(route)).sum();
        let whole = length(name.as_bytes()) + length(domain.as_bytes()) + routes_length;
        self.bytes.reserve(whole + 16);
        encode_key(TABLE_HOST, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(whole as u64, &mut self.bytes);
        self.field(HOST_NAME, name.as_bytes());
        self.field(HOST_DOMAIN, domain.as_bytes());
        for route in routes {
            self.field(HOST_ROUTE, route);
        }
    }

    /// The table, with everything else that is said of it.
    pub(crate) fn finish(mut self, rest: &[u8]) -> Resource {
        self.bytes.extend_from_slice(rest);
        Resource { kind: ResourceType::RouteConfiguration, name: self.name.into(), body: self.bytes.into() }
    }

    fn field(&mut self, number: u32, value: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(value);
    }
}

/// Of a field with a number below 16.
fn length(value: &[u8]) -> usize {
    1 + encoded_len_varint(value.len() as u64) + value.len()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use xds_api::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};

    use super::*;

    #[test]
    fn encoded_tables_are_route_configurations() {
        let route = |name: &str| Route { name: name.repeat(100), ..Route::default() };
        let host = |name: &str, routes: Vec<Route>| VirtualHost {
            name: name.into(),
            domains: vec![format!("{name}.example.com")],
            routes,
            ..VirtualHost::default()
        };
        let rest = RouteConfiguration {
            request_headers_to_remove: vec!["x".into()],
            ignore_port_in_host_matching: true,
            ..Default::default()
        };
        let table = RouteConfiguration {
            name: "t".into(),
            virtual_hosts: vec![host("h", vec![route("one"), route("two")]), host("i", Vec::new())],
            ..rest.clone()
        };
        let routes: Vec<Bytes> = ["one", "two"].iter().map(|name| route(name).encode_to_vec().into()).collect();
        let mut encoded = EncodedTable::new("t");
        encoded.host("h", "h.example.com", routes.iter());
        encoded.host("i", "i.example.com", [].iter());
        assert_eq!(encoded.finish(&rest.encode_to_vec()).body, table.encode_to_vec());
    }
}
