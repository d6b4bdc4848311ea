//! Clusters of AI backends: one for a backend, or one for several that take over from each other.
//!
//! Their own filters do, for each attempt, what must not be left over from the attempt before: take away every credential,
//! put in the server's own, and make the request what the server wants.

use std::collections::BTreeSet;

use kinds::ai::AiServiceBackendSpec;
use kinds::kgateway::KgatewayBackendSpec;
use kinds::{Kind, ObjectId};
use xds_api::any;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use xds_api::envoy::config::common::mutation_rules::v3::{HeaderMutation as Mutation, header_mutation::Action};
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{Locality, Metadata, TransportSocket, TypedExtensionConfig, transport_socket};
use xds_api::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use xds_api::envoy::config::endpoint::v3::{LbEndpoint, LocalityLbEndpoints};
use xds_api::envoy::config::route::v3::FilterConfig;
use xds_api::envoy::extensions::filters::http::composite::v3::{Composite, ExecuteFilterAction};
use xds_api::envoy::extensions::filters::http::header_mutation::v3::{HeaderMutation, Mutations};
use xds_api::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use xds_api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use xds_api::google::protobuf::{Any, Struct, Value, value};
use xds_api::xds::r#type::matcher::v3::Matcher;

use super::credentials::{self, Credential, KEY_HEADERS};
use super::edits::SHARE_HEADER;
use super::{filters, own_key, pool};
use crate::engine::{UnitId, View};
use crate::names::{ClusterId, ClusterName, Form, Member};
use crate::render::build::{header, socket, uint32};
use crate::render::cluster::{Discovery, discovery as plain_discovery, edit_http_options};
use crate::render::{endpoints, matcher, upstream_tls};
use crate::routing::resolve_backend;

/// The metadata by which endpoints of several backends are told apart.
const METADATA: &str = "chancery.ai";
const SHARE: &str = "share";
const SOCKET_MATCH: &str = "envoy.transport_socket_match";
/// Puts in the keys that are configured.
const KEY: &str = "chancery.key";
/// Makes a request what the server wants.
const EDITS: &str = "chancery.edits";
const CODEC: &str = "envoy.filters.http.upstream_codec";

/// Where a backend's servers are.
pub(super) enum Server {
    /// A Service or a Backend, which a cluster of its own could be made of.
    Plain(ClusterId),
    Hosts(Vec<(String, u16)>),
    Pool(ObjectId),
}

/// The order of a route whose servers want nothing changed: the filter that makes edits is left out. Which filters of a
/// cluster a request meets is decided when it is sent, so that no other route's edits are.
pub(super) fn unedited() -> (String, Any) {
    (EDITS.to_owned(), any(&FilterConfig { disabled: true, ..FilterConfig::default() }))
}

/// Whether a cluster is made here.
pub(crate) fn makes(id: &ClusterId) -> bool {
    matches!(id.form, Form::Takeover(_))
        || matches!(id.backend.kind, Kind::AiServiceBackend | Kind::InferencePool | Kind::KgatewayBackend)
}

fn members(id: &ClusterId) -> Vec<Member> {
    match &id.form {
        Form::Takeover(members) => members.clone(),
        Form::Plain | Form::Picker => {
            vec![Member { backend: id.backend.clone(), port: None, priority: 0, weight: 1 }]
        }
    }
}

pub(super) fn server(backend: &ObjectId, view: &View<'_>) -> Option<Server> {
    match backend.kind {
        Kind::InferencePool => Some(Server::Pool(backend.clone())),
        Kind::KgatewayBackend => {
            let hosts = super::kgateway::hosts(view.spec::<KgatewayBackendSpec>(backend)?);
            Some(Server::Hosts(hosts))
        }
        Kind::AiServiceBackend => {
            let object = view.object(backend)?;
            let spec = object.spec::<AiServiceBackendSpec>()?;
            resolve_backend(object, "spec.backendRef", &spec.backend_ref, false, view).ok().map(Server::Plain)
        }
        _ => None,
    }
}

/// A Service or a Backend that takes over from others is reached as it is alone.
fn server_of(member: &Member, view: &View<'_>) -> Option<Server> {
    if ordinary(member) {
        let alone = ClusterName { port: member.port, ..ClusterName::of_backend(member.backend.clone()) };
        return Some(Server::Plain(alone.into()));
    }
    server(&member.backend, view)
}

/// Whether a member is nothing of AI: its requests are left as they are.
fn ordinary(member: &Member) -> bool {
    matches!(member.backend.kind, Kind::Service | Kind::Backend)
}

pub(crate) fn discovery(id: &ClusterId, view: &View<'_>) -> Discovery {
    let by_name = members(id).iter().any(|member| match server_of(member, view) {
        Some(Server::Plain(plain)) => !matches!(plain_discovery(&plain, view), Discovery::Endpoints),
        Some(Server::Hosts(_)) => true,
        Some(Server::Pool(_)) | None => false,
    });
    if by_name { Discovery::Assigned(localities(id, view)) } else { Discovery::Endpoints }
}

/// The endpoints of all members, by priority: the numbers Envoy wants have no gaps.
pub(crate) fn localities(id: &ClusterId, view: &View<'_>) -> Vec<LocalityLbEndpoints> {
    let members = members(id);
    let several = matches!(id.form, Form::Takeover(_));
    let mut priorities: Vec<u32> = members.iter().map(|member| member.priority).collect();
    priorities.dedup();
    let mut localities = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let priority = priorities.iter().position(|priority| *priority == member.priority).unwrap_or_default();
        let zones = zones(server_of(member, view), view);
        if several {
            let endpoints = zones.into_iter().flat_map(|(_, endpoints)| endpoints);
            let endpoints = endpoints.map(|endpoint| marked(endpoint, at, &member.backend));
            localities.push(LocalityLbEndpoints {
                locality: Some(Locality { region: format!("share-{at}"), ..Locality::default() }),
                load_balancing_weight: Some(uint32(member.weight.max(1))),
                priority: u32::try_from(priority).unwrap_or_default(),
                lb_endpoints: endpoints.collect(),
                ..LocalityLbEndpoints::default()
            });
        } else {
            localities.extend(zones.into_iter().map(|(zone, lb_endpoints)| LocalityLbEndpoints {
                locality: (!zone.is_empty()).then(|| Locality { zone, ..Locality::default() }),
                load_balancing_weight: Some(uint32(u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX))),
                lb_endpoints,
                ..LocalityLbEndpoints::default()
            }));
        }
    }
    localities
}

fn zones(server: Option<Server>, view: &View<'_>) -> Vec<(String, Vec<LbEndpoint>)> {
    let named = |hosts: Vec<(String, u16)>| {
        let endpoint = |(host, port): (String, u16)| {
            let mut endpoint = endpoints::at(socket(&host, port, false), Default::default());
            name_host(&mut endpoint, &host);
            endpoint
        };
        vec![(String::new(), hosts.into_iter().map(endpoint).collect())]
    };
    let zoned = |zones: endpoints::Zones| {
        zones.into_sorted().into_iter().map(|(zone, endpoints)| (zone.to_string(), endpoints)).collect()
    };
    match server {
        Some(Server::Plain(plain)) => match plain_discovery(&plain, view) {
            Discovery::Dns(hosts) => named(hosts),
            Discovery::Endpoints | Discovery::Assigned(_) | Discovery::ByRequest => {
                zoned(endpoints::zones(&plain, view))
            }
        },
        Some(Server::Hosts(hosts)) => named(hosts),
        Some(Server::Pool(pool)) => zoned(pool::zones(&pool, view)),
        None => Vec::new(),
    }
}

/// The names by which a backend's servers are asked.
pub(super) fn names(backend: &ObjectId, view: &View<'_>) -> BTreeSet<String> {
    let endpoints = zones(server(backend, view), view).into_iter().flat_map(|(_, endpoints)| endpoints);
    let names = endpoints.filter_map(|endpoint| match endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(inner)) => Some(inner.hostname),
        _ => None,
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The name for the servers of a backend that have none, where several backends are in one cluster.
fn stand_in(backend: &ObjectId) -> String {
    format!("{}.{}", backend.name, backend.namespace)
}

fn name_host(endpoint: &mut LbEndpoint, host: &str) {
    if let Some(HostIdentifier::Endpoint(inner)) = &mut endpoint.host_identifier {
        host.clone_into(&mut inner.hostname);
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
}

fn marks(share: usize) -> Struct {
    Struct { fields: [(SHARE.to_owned(), text(&share.to_string()))].into() }
}

/// An endpoint that says whose it is. Each has a name, so that an attempt never carries the name of the one before.
fn marked(mut endpoint: LbEndpoint, share: usize, backend: &ObjectId) -> LbEndpoint {
    let nameless = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(inner)) => inner.hostname.is_empty(),
        _ => false,
    };
    if nameless {
        name_host(&mut endpoint, &stand_in(backend));
    }
    endpoint.metadata = Some(Metadata {
        filter_metadata: [(METADATA.to_owned(), marks(share)), (SOCKET_MATCH.to_owned(), marks(share))].into(),
        ..Metadata::default()
    });
    endpoint
}

/// Puts on a cluster what makes it one of AI backends.
pub(crate) fn complete(
    gateway: &ObjectId,
    id: &ClusterId,
    cluster: &mut Cluster,
    demands: &mut Vec<UnitId>,
    view: &View<'_>,
) {
    if id.form == Form::Picker {
        pool::complete_picker(id, cluster, view);
        return;
    }
    if !makes(id) {
        return;
    }
    let members = members(id);
    let several = matches!(id.form, Form::Takeover(_));
    let sockets: Vec<Option<TransportSocket>> =
        members.iter().map(|member| transport(member, gateway, demands, view)).collect();
    if several {
        if sockets.iter().any(Option::is_some) {
            cluster.transport_socket_matches =
                sockets.into_iter().enumerate().map(|(at, socket)| socket_match(at, socket)).collect();
        }
        pool::weigh_localities(cluster);
    } else if let Some(socket) = sockets.into_iter().flatten().next() {
        cluster.transport_socket = Some(socket);
    }
    if id.backend.kind == Kind::InferencePool && !several {
        pool::balance(&id.backend, cluster, view);
    }
    if members.iter().all(ordinary) {
        return;
    }
    let credentials: Vec<Option<Credential>> =
        members.iter().map(|member| credentials::of(&member.backend, view).ok().flatten()).collect();
    let secrets = credentials.iter().flatten().filter_map(Credential::secret);
    demands.extend(secrets.map(|secret| UnitId::Secret(gateway.clone(), secret.clone())));
    let proofs = members.iter().zip(&credentials).map(|(member, credential)| {
        let otherwise = if several { stand_in(&member.backend) } else { String::new() };
        credential.as_ref().map(|credential| (matches!(credential, Credential::Aws(_)), credential.filter(&otherwise)))
    });
    let mut chain = upstream_filters(proofs.collect(), several);
    put_own_keys(&mut chain, &credentials, several);
    if id.backend.kind == Kind::InferencePool && !several && pool::by_load(&id.backend, view) {
        chain.push(named("chancery.load_reports", filters::load_reports()));
    }
    install(cluster, chain);
}

fn transport(
    member: &Member,
    gateway: &ObjectId,
    demands: &mut Vec<UnitId>,
    view: &View<'_>,
) -> Option<TransportSocket> {
    match server_of(member, view)? {
        Server::Plain(plain) => {
            let mut scratch = Cluster::default();
            upstream_tls::apply(&plain, &mut scratch, gateway, demands, view);
            scratch.transport_socket
        }
        Server::Hosts(hosts) => {
            let (host, port) = hosts.first()?;
            (*port == 443).then(|| upstream_tls::by_system_roots(host, gateway, demands))
        }
        Server::Pool(_) => None,
    }
}

fn socket_match(share: usize, socket: Option<TransportSocket>) -> TransportSocketMatch {
    let plain = || TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&RawBuffer::default()))),
    };
    TransportSocketMatch {
        name: format!("share-{share}"),
        r#match: Some(marks(share)),
        transport_socket: Some(socket.unwrap_or_else(plain)),
    }
}

fn named(name: &str, config: Any) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)), ..HttpFilter::default() }
}

/// A filter that puts in a credential, and whether it signs.
type Proof = (bool, TypedExtensionConfig);

/// The order matters: a key goes in after every other one is gone, and a signature covers what is sent.
fn upstream_filters(credentials: Vec<Option<Proof>>, several: bool) -> Vec<HttpFilter> {
    let mut chain = Vec::new();
    let strip = several || credentials.iter().any(Option::is_some);
    let mut mutations: Vec<Mutation> = Vec::new();
    if strip {
        mutations.extend(KEY_HEADERS.iter().map(|name| Mutation { action: Some(Action::Remove((*name).to_owned())) }));
    }
    if several {
        let share = format!("%UPSTREAM_METADATA({METADATA}:{SHARE})%");
        let set = header(SHARE_HEADER, &share, HeaderAppendAction::OverwriteIfExistsOrAdd);
        mutations.push(Mutation { action: Some(Action::Append(set)) });
    }
    if !mutations.is_empty() {
        let clean = HeaderMutation {
            mutations: Some(Mutations { request_mutations: mutations, ..Mutations::default() }),
            ..HeaderMutation::default()
        };
        chain.push(named("chancery.clean", any(&clean)));
    }
    let keys = |signing: bool| {
        let wanted = credentials.iter().enumerate().filter_map(|(at, proof)| {
            let (signs, filter) = proof.as_ref()?;
            (*signs == signing).then(|| (at, filter.clone()))
        });
        wanted.collect::<Vec<_>>()
    };
    chain.extend(by_share(KEY, keys(false), several));
    chain.push(named(EDITS, filters::upstream()));
    chain.extend(by_share("chancery.signature", keys(true), several));
    if several {
        let clean = HeaderMutation {
            mutations: Some(Mutations {
                request_mutations: vec![Mutation { action: Some(Action::Remove(SHARE_HEADER.to_owned())) }],
                ..Mutations::default()
            }),
            ..HeaderMutation::default()
        };
        chain.push(named("chancery.shareless", any(&clean)));
    }
    chain
}

/// What callers bring is kept before all keys are taken away, and put in behind what is configured.
fn put_own_keys(chain: &mut Vec<HttpFilter>, credentials: &[Option<Credential>], several: bool) {
    let mut headers = BTreeSet::new();
    let mut keys = Vec::new();
    for (at, credential) in credentials.iter().enumerate() {
        let Some((own, filter)) = credential.as_ref().and_then(Credential::own) else { continue };
        headers.insert(own.header.as_str());
        let config = TypedExtensionConfig { name: "envoy.filters.http.lua".to_owned(), typed_config: Some(filter) };
        keys.push((at, config));
    }
    let Some(filter) = by_share("chancery.own_key", keys, several) else { return };
    let configured = chain.iter().position(|filter| filter.name == KEY);
    chain.insert(configured.map_or(0, |at| at + 1), filter);
    chain.insert(0, named("chancery.keep_own_keys", own_key::keep(&headers)));
}

/// A filter as it is where there is one backend, and by the backend of the attempt where there are several.
fn by_share(name: &str, keys: Vec<(usize, TypedExtensionConfig)>, several: bool) -> Option<HttpFilter> {
    if !several {
        let (_, filter) = keys.into_iter().next()?;
        return Some(named(name, filter.typed_config?));
    }
    if keys.is_empty() {
        return None;
    }
    let rules = keys.into_iter().map(|(at, filter)| {
        let action = ExecuteFilterAction { typed_config: Some(filter), ..ExecuteFilterAction::default() };
        (matcher::header(SHARE_HEADER, matcher::exact(&at.to_string())), any(&action))
    });
    let matcher: Matcher = matcher::first_of(rules.collect(), None);
    Some(named(name, any(&Composite { matcher: Some(matcher), ..Composite::default() })))
}

/// Puts filters before the last one of a cluster, which sends.
fn install(cluster: &mut Cluster, chain: Vec<HttpFilter>) {
    edit_http_options(cluster, |http| {
        http.http_filters.retain(|filter| filter.name != CODEC);
        http.http_filters.extend(chain);
        http.http_filters.push(named(CODEC, any(&UpstreamCodec {})));
    });
}
