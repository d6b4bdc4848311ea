//! Credentials: keys, passwords, tokens and whoever else is asked.
//!
//! The filters that check them stand in named chains, and a route names the chain that guards it. So a thousand keys on a
//! thousand routes are sent once, and a new key is one update of one filter, which drains no connection. The chains come
//! by extension discovery, apart from the listener.
//!
//! *Invariant*: a route is never open because its chain is not there yet. A chain ends by noting its name, and the
//! authorization filter behind it refuses a request of a guarded route on which the name is not noted.

use std::collections::BTreeMap;

use prost::{Message, Name};
use xds_api::envoy::config::core::v3::{ExtensionConfigSource, TypedExtensionConfig};
use xds_api::envoy::extensions::filters::http::composite::v3::{
    Composite, CompositePerRoute, ExecuteFilterAction, FilterChainConfiguration,
};
use xds_api::envoy::extensions::filters::http::set_metadata::v3::{Config as SetMetadata, Metadata as Note};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::google::protobuf::{Any, Struct, Value, value};
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use xds_api::{Resource, ResourceType, any};

use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::GuardId;
use crate::policy::GuardChain;
use crate::render::build::from_ads;
use crate::render::matcher;

const NAMES: [&str; 4] = ["chancery.guards.0", "chancery.guards.1", "chancery.guards.2", "chancery.guards.3"];
/// Where a chain notes its name.
const NOTED: &str = "chancery.guard";
const NOTE: &str = "name";

pub(crate) fn name(filter: u8) -> &'static str {
    NAMES.get(usize::from(filter)).copied().unwrap_or(NAMES[0])
}

pub(super) fn install(filter: u8) -> HttpFilter {
    HttpFilter {
        name: name(filter).to_owned(),
        config_type: Some(ConfigType::ConfigDiscovery(ExtensionConfigSource {
            config_source: Some(from_ads()),
            type_urls: vec![Composite::type_url()],
            ..ExtensionConfigSource::default()
        })),
        ..HttpFilter::default()
    }
}

/// A filter with all the chains that fall to it.
pub(crate) fn evaluate(filter: u8, view: &View<'_>) -> Outcome {
    let mut named_filter_chains = BTreeMap::new();
    for unit in view.demanders() {
        let UnitId::Guard(_, guard) = unit else { continue };
        if let Some(chain) = view.made::<GuardChain>(unit.clone())
            && let Ok(chain) = FilterChainConfiguration::decode(chain.0.clone())
        {
            named_filter_chains.insert(guard.to_string(), chain);
        }
    }
    let composite = Composite { named_filter_chains, ..Composite::default() };
    let name = name(filter);
    let extension = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any(&composite)) };
    Product::Resource(Resource::encode(ResourceType::ExtensionConfig, name, &extension)).into()
}

/// A chain of filters that ends by noting its name.
pub(crate) fn chain(guard: GuardId, mut filters: Vec<TypedExtensionConfig>) -> FilterChainConfiguration {
    let text = Value { kind: Some(value::Kind::StringValue(guard.to_string())) };
    let note = SetMetadata {
        metadata: vec![Note {
            metadata_namespace: NOTED.to_owned(),
            allow_overwrite: true,
            value: Some(Struct { fields: [(NOTE.to_owned(), text)].into() }),
            ..Note::default()
        }],
        ..SetMetadata::default()
    };
    filters.push(TypedExtensionConfig {
        name: "envoy.filters.http.set_metadata".to_owned(),
        typed_config: Some(any(&note)),
    });
    FilterChainConfiguration { typed_config: filters }
}

/// The order of a route that a chain guards.
pub(crate) fn order(guard: GuardId) -> (&'static str, Any) {
    let run = ExecuteFilterAction { filter_chain_name: guard.to_string(), ..ExecuteFilterAction::default() };
    let per_route = CompositePerRoute { matcher: Some(matcher::always(any(&run))) };
    (name(guard.filter()), any(&per_route))
}

/// Whether a request came through the chain.
pub(crate) fn passed(guard: GuardId) -> Predicate {
    matcher::noted(NOTED, [NOTE], crate::routing::is_text(&guard.to_string()))
}
