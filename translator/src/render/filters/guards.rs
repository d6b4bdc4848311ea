//! Credentials: keys, passwords, tokens and whoever else is asked.
//!
//! The filters that check them stand in named chains, and a route names the chains that guard it. So a thousand keys on a
//! thousand routes are sent once, and a new key is one update of one filter, which drains no connection. The chains come
//! by extension discovery, apart from the listener.
//!
//! A filter that waits for somebody's answer goes on behind its whole chain, so a chain has at most one such filter, its
//! last; each sort of guard has an installed filter of its own for its chains.
//!
//! *Invariant*: a route is never open because a chain of its is not there yet. A chain begins by noting its name, and the
//! authorization filter behind the guards refuses a request of a guarded route on which a name is not noted.

use std::collections::BTreeMap;

use prost::{Message, Name};
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{
    Composite, CompositePerRoute, ExecuteFilterAction, FilterChainConfiguration,
};
use xds_api::envoy::extensions::filters::http::set_metadata::v3::{Config as SetMetadata, Metadata as Note};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::google::protobuf::{Any, Struct, Value, value};
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use xds_api::{Resource, ResourceType, any};

use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{GuardId, GuardSort};
use crate::policy::GuardChain;
use crate::render::build::extension;
use crate::render::filters::presence;
use crate::render::matcher;

/// The entry under which a chain notes its name.
const NOTE: &str = "name";

fn name(sort: GuardSort) -> &'static str {
    match sort {
        GuardSort::ExtAuth => "chancery.guards.ext_auth",
        GuardSort::Keys => "chancery.guards.keys",
        GuardSort::Login => "chancery.guards.login",
        GuardSort::Tokens => "chancery.guards.tokens",
    }
}

pub(super) fn install(sort: GuardSort) -> HttpFilter {
    presence::discovered(name(sort), Composite::type_url())
}

/// The filter of a sort with all the chains of it.
pub(crate) fn evaluate(sort: GuardSort, view: &View<'_>) -> Outcome {
    let mut named_filter_chains = BTreeMap::new();
    for unit in view.demanders() {
        let UnitId::Guard(_, guard) = unit.id else { continue };
        if let Some(chain) = view.made_by::<GuardChain>(unit)
            && let Ok(chain) = FilterChainConfiguration::decode(chain.0.clone())
        {
            named_filter_chains.insert(guard.to_string(), chain);
        }
    }
    let content = if named_filter_chains.is_empty() {
        presence::nothing()
    } else {
        any(&Composite { named_filter_chains, ..Composite::default() })
    };
    let name = name(sort);
    Product::Resource(Resource::encode(ResourceType::ExtensionConfig, name, &extension(name, content))).into()
}

/// A chain of filters that begins by noting its name.
pub(crate) fn chain(guard: GuardId, filters: Vec<TypedExtensionConfig>) -> FilterChainConfiguration {
    let text = Value { kind: Some(value::Kind::StringValue(guard.to_string())) };
    let note = SetMetadata {
        metadata: vec![Note {
            metadata_namespace: name(guard.sort).to_owned(),
            allow_overwrite: true,
            value: Some(Struct { fields: [(NOTE.to_owned(), text)].into() }),
            ..Note::default()
        }],
        ..SetMetadata::default()
    };
    let first = extension("envoy.filters.http.set_metadata", any(&note));
    FilterChainConfiguration { typed_config: std::iter::once(first).chain(filters).collect() }
}

/// The order of a route that a chain guards.
pub(crate) fn order(guard: GuardId) -> (&'static str, Any) {
    let run = ExecuteFilterAction { filter_chain_name: guard.to_string(), ..ExecuteFilterAction::default() };
    let per_route = CompositePerRoute { matcher: Some(matcher::always(any(&run))) };
    (name(guard.sort), any(&per_route))
}

/// Whether a request met the chain.
pub(crate) fn met(guard: GuardId) -> Predicate {
    matcher::noted(name(guard.sort), [NOTE], crate::routing::is_text(&guard.to_string()))
}
