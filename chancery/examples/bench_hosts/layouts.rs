//! The same routes in two layouts.

use std::fmt::Write as _;
use std::sync::Arc;

use kinds::Parsed;
use prost::Message as _;
use translator::{Change, Options, Translator};
use xds_api::envoy::config::route::v3::RouteConfiguration;
use xds_api::{Resource, ResourceType, from_yaml};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As the translation makes it: small tables, found by scopes.
    Served,
    /// All virtual hosts in one table, as is usual.
    OneTable,
}

impl Layout {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Served => "small tables",
            Self::OneTable => "one table",
        }
    }
}

pub(crate) fn host(n: usize) -> String {
    format!("host-{n}.example.com")
}

pub(crate) struct World {
    layout: Layout,
    port: u16,
    translator: Translator,
}

impl World {
    pub(crate) fn new(layout: Layout, hosts: usize, port: u16, upstream: u16) -> Self {
        let mut text = surroundings(port, upstream);
        for n in 0..hosts {
            write!(text, "---\n{}", route(n, "none")).unwrap();
        }
        let mut translator = Translator::new(Options::default());
        translator.apply(parse(&text));
        Self { layout, port, translator }
    }

    /// Everything, in the layout.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let all: Vec<Resource> = self.translator.resources().into_values().flatten().collect();
        match self.layout {
            Layout::Served => all,
            Layout::OneTable => {
                let kept = [ResourceType::Cluster, ResourceType::Endpoints];
                let table = one_table(&all);
                let mut kept: Vec<Resource> =
                    all.into_iter().filter(|resource| kept.contains(&resource.kind)).collect();
                kept.extend(from_yaml(ResourceType::Listener, &listener(self.port)).unwrap());
                kept.push(table);
                kept
            }
        }
    }

    /// What changes when one route answers with another header.
    pub(crate) fn edit(&mut self, n: usize, mark: &str) -> Vec<Resource> {
        let update = self.translator.apply(parse(&route(n, mark)));
        match self.layout {
            Layout::Served => update.groups.into_values().flat_map(|group| group.set).collect(),
            Layout::OneTable => {
                let all: Vec<Resource> = self.translator.resources().into_values().flatten().collect();
                vec![one_table(&all)]
            }
        }
    }
}

fn parse(text: &str) -> Vec<Change> {
    let parsed = kinds::parse_text("bench.yaml", text).into_iter();
    let put = |parsed| match parsed {
        Parsed::Object(object, _) => Change::Put(Arc::from(object)),
        other => panic!("{other:?}"),
    };
    parsed.map(put).collect()
}

fn one_table(all: &[Resource]) -> Resource {
    let tables = all.iter().filter(|resource| resource.kind == ResourceType::RouteConfiguration);
    let hosts = tables.flat_map(|table| RouteConfiguration::decode(table.body.clone()).unwrap().virtual_hosts);
    let table = RouteConfiguration { name: "all".into(), virtual_hosts: hosts.collect(), ..Default::default() };
    Resource::encode(ResourceType::RouteConfiguration, "all", &table)
}

fn listener(port: u16) -> String {
    format!(
        r#"
name: web
address: {{socket_address: {{address: 0.0.0.0, port_value: {port}}}}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: web
      rds: {{route_config_name: all, config_source: {{ads: {{}}, resource_api_version: V3}}}}
      http_filters:
      - name: envoy.filters.http.router
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
    )
}

pub(crate) fn surroundings(port: u16, upstream: u16) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: default}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-1, namespace: default, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{name: http, port: {upstream}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

/// About 800 bytes on the wire.
pub(crate) fn route(n: usize, mark: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route-{n}, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{host}]
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /}}
    filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{set: [{{name: x-edit, value: {mark}}}]}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {{set: [{{name: x-route, value: route-{n}}}], remove: [x-internal]}}
    timeouts: {{request: 60s, backendRequest: 30s}}
    backendRefs: [{{name: app, port: 80}}]
",
        host = host(n)
    )
}

pub(crate) fn bootstrap(xds: u16, protocol: &str) -> String {
    format!(
        r#"
node: {{id: bench, cluster: default/web}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {{admin}}}}}}}}
dynamic_resources:
  ads_config:
    api_type: {protocol}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: chancery}}}}]
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: chancery
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: chancery
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {xds}}}}}}}
"#
    )
}
