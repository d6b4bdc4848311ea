//! The tables of models, and the scopes that lead to them: one small table for each model of a host.
//!
//! Where there are many, a table is fetched when the first request for its model comes, so that ten thousand models cost an
//! Envoy what their names cost. The table of a long list of models has a name that changes with it, so that no change sends it again unasked.

use std::fmt::Write;

use bytes::Bytes;
use kinds::ai::MODEL_HEADER;
use prost::Message;
use smol_str::SmolStr;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{DataSource, Metadata, data_source};
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::scoped_route_configuration::{Key, key};
use xds_api::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, ScopedRouteConfiguration,
};
use xds_api::{Resource, ResourceType};

use super::api::Api;
use super::attached::{API_HEADER, AiRoute};
use super::filters::{MODEL, OTHER};
use super::host::{HostModels, Listing};
use super::pre_route::orders;
use super::quota::SKIP_HEADER;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::HcmId;
use crate::render::build::{header, uint32};
use crate::render::encoded_table::EncodedTable;
use crate::render::filters::table_fallback::SCOPE_HEADER;
use crate::routing::AttachedRules;

/// Which of a host's tables of models.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ModelKey {
    Named(SmolStr),
    /// Models that no rule names, and requests that name none.
    Other,
    /// The list of models, as clients of an API read it.
    List(Api),
}

impl ModelKey {
    /// Host tables have keys that start with a port, so that no host a client makes up is ever one of these.
    pub(crate) fn scope_prefix(&self) -> &'static str {
        match self {
            Self::Named(_) => "model/",
            Self::Other => "other/",
            Self::List(Api::Anthropic) => "models-anthropic/",
            Self::List(_) => "models/",
        }
    }
}

/// What the keys of one host's tables have in common.
pub(crate) fn tables_of(hcm: &HcmId, host: &str) -> String {
    hcm.scope_key(host)
}

fn scope_key(hcm: &HcmId, host: &str, model: &ModelKey) -> String {
    let mut key = format!("{}{}", model.scope_prefix(), tables_of(hcm, host));
    if let ModelKey::Named(name) = model {
        // Infallible: the target is a String.
        let _ = write!(key, "|{name}");
    }
    key
}

fn table_name(hcm: &HcmId, host: &str, model: &ModelKey, view: &View<'_>) -> String {
    let name = format!("{}/{}/{}", hcm.gateway.namespace, hcm.gateway.name, scope_key(hcm, host, model));
    let version = match model {
        ModelKey::List(_) => listing(hcm, host, view).and_then(|listing| listing.version),
        ModelKey::Named(_) | ModelKey::Other => None,
    };
    version.map_or(name.clone(), |version| format!("{name}@{version:016x}"))
}

fn host_models<'a>(hcm: &HcmId, host: &str, view: &View<'a>) -> Option<&'a HostModels> {
    view.made::<HostModels>(UnitId::AiHost(hcm.clone(), host.into()))
}

fn listing<'a>(hcm: &HcmId, host: &str, view: &View<'a>) -> Option<&'a Listing> {
    view.made::<Listing>(UnitId::AiList(hcm.clone(), host.into()))
}

pub(crate) fn evaluate_scope(hcm: &HcmId, host: &str, model: &ModelKey, view: &View<'_>) -> Outcome {
    let key = scope_key(hcm, host, model);
    // What every host needs is there from the start, and so is what few models need.
    let on_demand = match model {
        ModelKey::Other => false,
        ModelKey::Named(_) => host_models(hcm, host, view).is_some_and(|models| models.many),
        ModelKey::List(_) => listing(hcm, host, view).is_some_and(|listing| listing.version.is_some()),
    };
    let scope = ScopedRouteConfiguration {
        on_demand,
        name: key.clone(),
        route_configuration_name: table_name(hcm, host, model, view),
        key: Some(Key { fragments: vec![key::Fragment { r#type: Some(key::fragment::Type::StringKey(key.clone())) }] }),
        ..ScopedRouteConfiguration::default()
    };
    Product::Resource(Resource::encode(ResourceType::ScopedRoute, &key, &scope)).into()
}

pub(crate) fn evaluate_table(hcm: &HcmId, host: &str, model: &ModelKey, view: &View<'_>) -> Outcome {
    let Some(models) = host_models(hcm, host, view) else { return Outcome::default() };
    let name = table_name(hcm, host, model, view);
    let mut largest = None;
    let routes = match model {
        ModelKey::List(api) => {
            // Infallible: strings and numbers only.
            let body = listing(hcm, host, view).and_then(|listing| listing.body(*api).ok()).unwrap_or_default();
            largest = Some(uint32(u32::try_from(body.len()).unwrap_or(u32::MAX).max(4096)));
            vec![guarded(direct("models", 200, body), models)]
        }
        ModelKey::Named(model) => named(models, model, view),
        ModelKey::Other => {
            models.any.iter().flat_map(|route| route.bodies.iter().cloned()).chain([not_routed(models)]).collect()
        }
    };
    let rest = RouteConfiguration {
        // What led here is nothing for servers.
        request_headers_to_remove: [SCOPE_HEADER, API_HEADER, SKIP_HEADER, MODEL_HEADER].map(str::to_owned).into(),
        max_direct_response_body_size_bytes: largest,
        ..RouteConfiguration::default()
    };
    let mut table = EncodedTable::new(&name);
    table.host("models", "*", routes.iter());
    Product::Resource(table.finish(&rest.encode_to_vec())).into()
}

/// The routes of a model: the rules that name it, and those that may take it without naming it, in the order of precedence.
fn named(models: &HostModels, model: &SmolStr, view: &View<'_>) -> Vec<Bytes> {
    let mut routes: Vec<&AiRoute> = models.any.iter().filter(|route| route.model.may_be(model)).collect();
    for unit in view.demanders() {
        let Some(rules) = view.made_by::<AttachedRules>(unit) else { continue };
        let Some(ai) = &rules.ai else { continue };
        routes.extend(ai.by_model.get(model).into_iter().flatten());
    }
    routes.sort_by(|a, b| a.precedence.cmp(&b.precedence));
    let mut bodies = Vec::new();
    for route in routes {
        bodies.extend(route.bodies.iter().cloned());
        if route.takes_all(model) {
            // Nothing behind a route that takes every request of the model is ever reached.
            return bodies;
        }
    }
    bodies.push(not_routed(models));
    bodies
}

/// The mark of a route by model: the filters that lead to it know by this that there is one.
pub(super) fn found(name: &str) -> Metadata {
    let mut metadata = orders(MODEL, &[("found", name)]);
    metadata.filter_metadata.extend(orders(OTHER, &[("found", name)]).filter_metadata);
    metadata
}

fn everything() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..RouteMatch::default() }
}

/// Who may not come in learns nothing of which models there are.
fn guarded(mut route: Route, models: &HostModels) -> Bytes {
    route.typed_per_filter_config.clone_from(&models.guards);
    route.encode_to_vec().into()
}

fn not_routed(models: &HostModels) -> Bytes {
    let message = "No matching route found. It is likely because the model specified in your request is not configured in the Gateway.";
    guarded(answer("no-model", 404, message, "invalid_request_error", "model_not_found"), models)
}

/// An answer in the form of OpenAI's errors.
pub(super) fn answer(name: &str, status: u32, message: &str, kind: &str, code: &str) -> Route {
    let body = serde_json::json!({"error": {"message": message, "type": kind, "param": "model", "code": code}});
    direct(name, status, body.to_string())
}

fn direct(name: &str, status: u32, body: String) -> Route {
    let json = header("content-type", "application/json", HeaderAppendAction::OverwriteIfExistsOrAdd);
    Route {
        name: format!("ai/{name}"),
        r#match: Some(everything()),
        metadata: Some(found("answer")),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status,
            body: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(body)),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        })),
        response_headers_to_add: vec![json],
        request_headers_to_remove: vec![MODEL_HEADER.to_owned()],
        ..Route::default()
    }
}
