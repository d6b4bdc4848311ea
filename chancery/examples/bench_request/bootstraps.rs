//! The configurations that are compared.

use testkit::model_gateway::{backend, gateway, route, rule};

use crate::Work;

const MANAGER: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const HTTP2: &str = "typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}";

/// A gateway that routes, counts tokens, and limits them with room for every request.
pub(crate) fn manifests(port: u16, server: u16, work: Work) -> String {
    let limited = "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limits, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ai}]
  rateLimit:
    global:
      rules:
      - limit: {requests: 4000000000, unit: Hour}
        clientSelectors: [{headers: [{name: x-user-id, type: Distinct}]}]
        cost:
          request: {from: Number, number: 0}
          response: {from: Metadata, metadata: {namespace: io.envoy.ai_gateway, key: llm_total_token}}
";
    let costs = "  llmRequestCosts:
  - {metadataKey: llm_total_token, type: TotalToken}
  - {metadataKey: llm_input_token, type: InputToken}
  - {metadataKey: llm_output_token, type: OutputToken}
";
    let mut text = gateway(port) + &backend("sim", server, "{name: OpenAI}", "") + &route(&rule("m", "[{name: sim}]"));
    if work >= Work::Cost {
        text += costs;
    }
    if work >= Work::Limit {
        text += limited;
    }
    text
}

pub(crate) fn plain(port: u16, server: u16) -> String {
    envoy(port, "- {match: {prefix: /}, route: {cluster: server, timeout: 0s}}", "", &cluster("server", server, ""))
}

/// An external processor before the route and one before the server; with a limit, a check and a debit.
pub(crate) fn processed(port: u16, server: u16, processor: u16, work: Work, limits: Option<u16>) -> String {
    let filter = |mode: &str| {
        format!(
            "name: processor
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {{envoy_grpc: {{cluster_name: processor}}}}
              message_timeout: 10s
              metadata_options: {{receiving_namespaces: {{untyped: [io.envoy.ai_gateway]}}}}
              processing_mode: {mode}"
        )
    };
    let answers = if work >= Work::Cost {
        "response_header_mode: SEND, response_body_mode: STREAMED"
    } else {
        "response_header_mode: SKIP"
    };
    let before = format!("{{request_header_mode: SEND, request_body_mode: BUFFERED, {answers}}}");
    let mut filters = format!("          - {}\n", filter(&before));
    let mut clusters = cluster("processor", processor, HTTP2);
    if let Some(limits) = limits {
        clusters.push_str(&cluster("limits", limits, HTTP2));
        filters.push_str(
            "          - name: limits
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: chancery
              timeout: 1s
              rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: limits}}}
              rate_limits:
              - actions: &actions
                - request_headers: {header_name: x-user-id, descriptor_key: user}
                hits_addend: {number: 0}
              - actions: *actions
                apply_on_stream_done: true
                hits_addend: {format: '%DYNAMIC_METADATA(io.envoy.ai_gateway:llm_total_token)%'}
",
        );
    }
    let last =
        filter("{request_header_mode: SEND, response_header_mode: SKIP}").replace("\n            ", "\n          ");
    let upstream = format!(
        "typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{}}}}
        http_filters:
        - {last}
        - name: envoy.filters.http.upstream_codec
          typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}"
    );
    let routes = "- {match: {prefix: /, headers: [{name: x-model, string_match: {exact: m}}]}, route: {cluster: server, timeout: 0s}}
              - {match: {prefix: /}, direct_response: {status: 404}}";
    envoy(port, routes, &filters, &(cluster("server", server, &upstream) + &clusters))
}

fn cluster(name: &str, port: u16, options: &str) -> String {
    format!(
        "  - name: {name}
    type: STATIC
    {options}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"
    )
}

fn envoy(port: u16, routes: &str, filters: &str, clusters: &str) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {{admin}}}}}}}}
static_resources:
  listeners:
  - name: http
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    per_connection_buffer_limit_bytes: 33554432
    filter_chains:
    - filters:
      - name: http
        typed_config:
          {MANAGER}
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              {routes}
          http_filters:
{filters}          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{clusters}"
    )
}
