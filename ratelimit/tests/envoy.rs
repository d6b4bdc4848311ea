//! Reservations through a stock Envoy: its rate limit filter reserves, its gRPC access log settles.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::config;
use ratelimit::{Filter, Options, RateLimiter};
use testkit::{Envoy, HttpClient, Reply, envoy_binary, eventually, free_port};
use tokio::net::TcpListener;

/// A listener whose requests say what they are expected to cost (`x-estimate`), and whose answers say what they did
/// (`x-tokens`, which the model behind it takes from the request).
fn bootstrap(http: u16, model: u16, service: u16) -> String {
    format!(
        r#"
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {{admin}}}}}}
static_resources:
  listeners:
  - name: http
    address: {{socket_address: {{address: 127.0.0.1, port_value: {http}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log:
          - name: settle
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: settle
                transport_api_version: V3
                buffer_flush_interval: 0.02s
                grpc_service: {{envoy_grpc: {{cluster_name: limits}}}}
          route_config:
            virtual_hosts:
            - name: v
              domains: ['*']
              routes:
              - match: {{prefix: /}}
                route: {{cluster: model}}
          http_filters:
          - name: usage
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              response_rules:
              - header: x-tokens
                on_header_present: {{metadata_namespace: usage, key: tokens, type: NUMBER}}
          - name: limits
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: d
              timeout: 5s
              failure_mode_deny: true
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: limits}}}}
              rate_limits:
              - actions:
                - request_headers: {{header_name: x-user, descriptor_key: user}}
                - generic_key: {{descriptor_key: {key}, descriptor_value: 'usage:tokens'}}
                hits_addend: {{format: '%REQ(x-estimate)%'}}
          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  - name: model
    address: {{socket_address: {{address: 127.0.0.1, port_value: {model}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: model
          route_config:
            virtual_hosts:
            - name: v
              domains: ['*']
              response_headers_to_add:
              - header: {{key: x-tokens, value: '%REQ(x-cost)%'}}
              routes:
              - match: {{path: /broken}}
                direct_response: {{status: 503}}
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
          http_filters:
          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: model
    type: STATIC
    load_assignment:
      cluster_name: model
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {model}}}}}}}
  - name: limits
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: limits
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {service}}}}}}}
"#,
        key = ratelimit::RESERVE_KEY
    )
}

struct Gateway {
    limiter: Arc<RateLimiter>,
    http: u16,
    _envoy: Envoy,
}

impl Gateway {
    async fn start(limits: &str) -> Option<Self> {
        if let Err(error) = envoy_binary() {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        let limiter = RateLimiter::new(&Options::default());
        limiter.apply(&[config(limits)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (service, http) = (listener.local_addr().unwrap().port(), free_port());
        tokio::spawn(ratelimit::serve(Arc::clone(&limiter), listener, None, std::future::pending()));
        let envoy = Envoy::start(&bootstrap(http, free_port(), service)).await.unwrap();
        Some(Self { limiter, http, _envoy: envoy })
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let client =
            headers.iter().fold(HttpClient::new(self.http), |client, (name, value)| client.header(name, value));
        client.get(path).await.unwrap()
    }

    /// What is spent, once nothing is reserved any more.
    async fn settled(&self) -> u64 {
        eventually("everything is settled", Duration::from_secs(10), || async {
            let page = self.limiter.list(&Filter::default(), ratelimit::now());
            page.counters.first().filter(|counter| counter.reserved == 0).map(|counter| counter.spent)
        })
        .await
    }
}

#[tokio::test]
async fn the_filter_reserves_and_the_access_log_settles() {
    let limits = "{domain: d, descriptors: [{key: user, rate_limit: {unit: YEAR, requests_per_unit: 1000}}]}";
    let Some(gateway) = Gateway::start(limits).await else { return };
    let ask =
        |estimate: &'static str, cost: &'static str| [("x-user", "a"), ("x-estimate", estimate), ("x-cost", cost)];
    let answer = gateway.get("/", &ask("300", "120")).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-remaining")), (200, Some("700")));
    assert_eq!(gateway.settled().await, 120);
    // An error without a cost spends nothing; a success without one spends what was held.
    let no_cost = [("x-user", "a"), ("x-estimate", "200")];
    assert_eq!(gateway.get("/broken", &no_cost).await.status, 503);
    assert_eq!(gateway.settled().await, 120);
    assert_eq!(gateway.get("/", &no_cost).await.status, 200);
    assert_eq!(gateway.settled().await, 320);
    assert_eq!(gateway.get("/", &ask("10", "680")).await.status, 200);
    assert_eq!(gateway.settled().await, 1000);
    let refused = gateway.get("/", &ask("1", "1")).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("1000, 1000;w=31536000"));
    assert_eq!(gateway.settled().await, 1000);
}

/// Two hundred clients at once, whose costs nobody can tell beforehand, on one budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_stay_within_a_budget() {
    const BUDGET: u64 = 50_000;
    let limits =
        format!("{{domain: d, descriptors: [{{key: user, rate_limit: {{unit: YEAR, requests_per_unit: {BUDGET}}}}}]}}");
    let Some(gateway) = Gateway::start(&limits).await else { return };
    let gateway = Arc::new(gateway);
    let clients: Vec<_> = (0..200_u64)
        .map(|client| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move {
                let mut spent = 0;
                for round in 0.. {
                    let cost = 50 + (client * 7919 + round * 104_729) % 101;
                    let headers = [("x-user", "a"), ("x-estimate", "0"), ("x-cost", &cost.to_string())];
                    let answer = gateway.get("/", &headers).await;
                    if answer.status == 429 {
                        break;
                    }
                    assert_eq!(answer.status, 200);
                    spent += cost;
                }
                spent
            })
        })
        .collect();
    let mut spent = 0;
    for client in clients {
        spent += client.await.unwrap();
    }
    assert_eq!(gateway.settled().await, spent, "exact");
    // Who was turned away while others held the rest may still use it.
    while gateway.get("/", &[("x-user", "a"), ("x-estimate", "0"), ("x-cost", "100")]).await.status == 200 {
        spent += 100;
    }
    assert_eq!(gateway.settled().await, spent);
    println!("{spent} of {BUDGET}");
    assert!((BUDGET..=BUDGET + BUDGET / 20).contains(&spent), "{spent}");
}
