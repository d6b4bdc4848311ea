//! A scope: the key of one hostname, and the table that serves it.

use xds_api::envoy::config::route::v3::ScopedRouteConfiguration;
use xds_api::envoy::config::route::v3::scoped_route_configuration::{Key, key};
use xds_api::{Resource, ResourceType};

use super::filters::table_fallback::DEFAULT_HOST;
use crate::engine::{Outcome, Product};
use crate::names::{HcmId, Shard};

pub(crate) fn evaluate(hcm: &HcmId, host: &str) -> Outcome {
    let shard = if host == DEFAULT_HOST { Shard::Default } else { Shard::of(host) };
    let key = hcm.scope_key(host);
    let scope = ScopedRouteConfiguration {
        name: key.clone(),
        route_configuration_name: hcm.table_name(shard),
        key: Some(Key { fragments: vec![key::Fragment { r#type: Some(key::fragment::Type::StringKey(key.clone())) }] }),
        ..ScopedRouteConfiguration::default()
    };
    // Whoever asks for a scope asks for its table too.
    Product::Resource(Resource::encode(ResourceType::ScopedRoute, &key, &scope)).into()
}
