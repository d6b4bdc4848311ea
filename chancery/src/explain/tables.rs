//! Which route table, virtual host and route take a request, as the filters of a listener lead it there.
//!
//! ```text
//! key of the host -> its table, else the table of wildcards -> [model read -> table of the model, else of all others]
//! ```

use xds_api::envoy::config::common::mutation_rules::v3::header_mutation::Action as Mutation;
use xds_api::envoy::config::core::v3::Metadata;
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use xds_api::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation as EarlyHeaderMutation;
use xds_api::google::protobuf::{Struct, value::Kind};

use super::listener::decode;
use super::matching::{self, Refusal};
use super::{Configuration, Request, backend};

/// The header that chooses a table, and the metadata by which filters know a route: as the translator writes them.
const SCOPE_HEADER: &str = "x-chancery-scope";
const FALLBACK: &str = "chancery.table_fallback";
const MODEL: &str = "chancery.model";
const OTHER_MODELS: &str = "chancery.other_models";
const MODEL_HEADER: &str = "x-ai-eg-model";

/// How a look into the tables ended.
enum Found<'a> {
    Route(&'a Route),
    Nothing,
    /// It depends on what is not known here.
    Unknown,
}

pub(crate) fn follow(
    configuration: &Configuration,
    manager: &HttpConnectionManager,
    request: &Request,
    story: &mut Vec<String>,
) {
    let mut request = request.clone();
    let Some(key) = early_headers(manager, &mut request) else {
        return story.push("the listener chooses no route table".to_owned());
    };
    let key = key.to_ascii_lowercase();
    let mut found = look_up(configuration, &key, &request, story);
    let marked = matches!(&found, Found::Route(route) if metadata(route, FALLBACK).is_some());
    if !marked && !matches!(found, Found::Unknown) {
        let prefix = key.split('|').next().unwrap_or_default();
        found = look_up(configuration, &format!("{prefix}|*"), &request, story);
    }
    if let Found::Route(route) = found
        && let Some(orders) = metadata(route, MODEL)
    {
        let Some(by_model) = by_model(configuration, orders, &mut request, story) else { return };
        found = by_model;
    } else if request.model.is_some() {
        story.push("the model is not looked at: the route that was found is not one of an AI path".to_owned());
    }
    match found {
        Found::Route(route) => act(configuration, route, story),
        Found::Nothing => story.push("no route takes the request: it is answered 404".to_owned()),
        Found::Unknown => {}
    }
}

/// Applies what the listener does to headers before it looks for a route; gives the key it sets.
fn early_headers(manager: &HttpConnectionManager, request: &mut Request) -> Option<String> {
    let mut key = None;
    let configs =
        manager.early_header_mutation_extensions.iter().filter_map(|extension| extension.typed_config.as_ref());
    for mutation in configs.filter_map(decode::<EarlyHeaderMutation>).flat_map(|mutations| mutations.mutations) {
        match mutation.action {
            Some(Mutation::Remove(name)) => request.remove_header(&name),
            Some(Mutation::Append(append)) => {
                let Some(header) = append.header else { continue };
                let value = header.value.replace("%REQ(:authority)%", &request.host);
                if header.key == SCOPE_HEADER {
                    key = Some(value.clone());
                }
                request.remove_header(&header.key);
                request.add_header(&header.key, &value);
            }
            _ => {}
        }
    }
    key
}

/// None when the request is answered on the way.
fn by_model<'a>(
    configuration: &'a Configuration,
    orders: &Struct,
    request: &mut Request,
    story: &mut Vec<String>,
) -> Option<Found<'a>> {
    let order = |name: &str| string(orders, name).unwrap_or_default();
    let tables = order("tables");
    match (order("act"), request.method.as_str()) {
        ("list", "GET" | "HEAD") => {
            return Some(look_up(configuration, &format!("{}{tables}", order("list")), request, story));
        }
        ("read", "POST") => {}
        ("read", "OPTIONS") => {
            story.push("OPTIONS has no model".to_owned());
            return Some(Found::Nothing);
        }
        ("unsupported", _) => {
            story.push("the path is not one that AI routes serve: it is answered 404".to_owned());
            return None;
        }
        (_, method) => {
            story.push(format!("{method} is not supported on this path: it is answered 405"));
            return None;
        }
    }
    let other = format!("other/{tables}");
    let Some(model) = request.model.clone().filter(|model| !model.is_empty()) else {
        story.push("the body names no model (say which with --model)".to_owned());
        return Some(look_up(configuration, &other, request, story));
    };
    story.push(format!("the body names model {model}"));
    request.add_header("x-chancery-api", order("api"));
    request.add_header(MODEL_HEADER, &model);
    let named = look_up(configuration, &format!("model/{tables}|{model}"), request, story);
    let ends = match &named {
        Found::Route(route) => metadata(route, OTHER_MODELS).is_some_and(|fields| fields.fields.contains_key("found")),
        Found::Nothing => false,
        Found::Unknown => true,
    };
    Some(if ends { named } else { look_up(configuration, &other, request, story) })
}

fn look_up<'a>(configuration: &'a Configuration, key: &str, request: &Request, story: &mut Vec<String>) -> Found<'a> {
    let Some(name) = configuration.scopes.get(key) else {
        story.push(format!("  passed over: no table has key {key}"));
        return Found::Nothing;
    };
    story.push(format!("route table {name}: has key {key}"));
    let Some(table) = configuration.tables.get(name) else { return Found::Nothing };
    let Some((host, domain)) = virtual_host(table, &request.host) else {
        let domains: Vec<&str> =
            table.virtual_hosts.iter().flat_map(|host| &host.domains).map(String::as_str).collect();
        story.push(format!("  passed over: no virtual host takes {}, only {}", request.host, domains.join(", ")));
        return Found::Nothing;
    };
    story.push(format!("virtual host {}: {domain} is the most specific domain for {}", host.name, request.host));
    for route in &host.routes {
        let Some(wanted) = &route.r#match else { continue };
        match matching::route(wanted, request) {
            Ok(()) => {
                story.push(format!("route {}: takes the request", route.name));
                return Found::Route(route);
            }
            Err(Refusal::Different(reason)) => story.push(format!("  passed over: route {}: {reason}", route.name)),
            Err(Refusal::Unknown(what)) => {
                story.push(format!("undecided: route {} depends on {what}", route.name));
                return Found::Unknown;
            }
        }
    }
    Found::Nothing
}

/// Envoy's order: the host itself, then `*.suffix` from the longest down, then `prefix.*` likewise, then `*`.
fn virtual_host<'a>(table: &'a RouteConfiguration, host: &str) -> Option<(&'a VirtualHost, &'a str)> {
    let host = host.to_ascii_lowercase();
    let rank = |domain: &str| -> Option<(u8, usize)> {
        let domain = domain.to_ascii_lowercase();
        // A wildcard stands for at least one character.
        let covers = |part: &str| host.len() > part.len();
        if domain == host {
            Some((3, domain.len()))
        } else if domain == "*" {
            Some((0, 0))
        } else if let Some(suffix) = domain.strip_prefix('*') {
            (host.ends_with(suffix) && covers(suffix)).then_some((2, domain.len()))
        } else {
            let prefix = domain.strip_suffix('*')?;
            (host.starts_with(prefix) && covers(prefix)).then_some((1, domain.len()))
        }
    };
    let hosts = table.virtual_hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
    let ranked = hosts.filter_map(|(host, domain)| Some((rank(domain)?, host, domain.as_str())));
    ranked.max_by_key(|(rank, ..)| *rank).map(|(_, host, domain)| (host, domain))
}

fn act(configuration: &Configuration, route: &Route, story: &mut Vec<String>) {
    match &route.action {
        Some(Action::Route(action)) => backend::route(configuration, action, story),
        Some(Action::Redirect(redirect)) => {
            story.push(format!("the client is redirected: {}", backend::redirect(redirect)));
        }
        Some(Action::DirectResponse(answer)) => story.push(format!("it is answered {} by Envoy itself", answer.status)),
        _ => story.push("the route leads nowhere that is known here".to_owned()),
    }
}

fn metadata<'a>(route: &'a Route, filter: &str) -> Option<&'a Struct> {
    let metadata: &Metadata = route.metadata.as_ref()?;
    metadata.filter_metadata.get(filter)
}

fn string<'a>(fields: &'a Struct, name: &str) -> Option<&'a str> {
    match fields.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
