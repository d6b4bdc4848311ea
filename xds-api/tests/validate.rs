//! Field rules on real messages: what Envoy rejects, and that it is found where it stands.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use xds_api::validate_message;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

fn errors(message: &str, value: &Value) -> Vec<String> {
    let body = xds_api::message_from_value(message, value).unwrap();
    validate_message(message, &body).iter().map(ToString::to_string).collect()
}

fn any(message: &str, mut value: Value) -> Value {
    value["@type"] = json!(format!("type.googleapis.com/{message}"));
    value
}

#[test]
fn real_configurations_break_no_rule() {
    const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let file = entry.unwrap().path();
        let body = xds_api::message_from_yaml(BOOTSTRAP, &std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(validate_message(BOOTSTRAP, &body), [], "{}", file.display());
    }
}

#[test]
fn every_kind_of_rule_on_the_messages_that_carry_it() {
    let route =
        |route: Value| json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]});
    let in_route = |rest: &str| format!("virtual_hosts[0].routes[0].{rest}");
    let to = |action: Value| route(json!({"match": {"prefix": "/"}, "route": action}));
    let cases: Vec<(&str, Value, Vec<String>)> = vec![
        (CLUSTER, json!({"name": "a"}), vec![]),
        // Strings.
        (CLUSTER, json!({}), vec!["name: must not be empty".into()]),
        (
            ROUTES,
            to(json!({"cluster_header": "a\nb"})),
            vec![in_route("route.cluster_header: must not contain NUL or line breaks")],
        ),
        (
            ROUTES,
            to(json!({"cluster": "c", "prefix_rewrite": "a\nb"})),
            vec![in_route("route.prefix_rewrite: must not contain NUL or line breaks")],
        ),
        // Numbers, wrapped numbers.
        (
            CLUSTER,
            json!({"name": "a", "ring_hash_lb_config": {"minimum_ring_size": 8_388_609}}),
            vec!["ring_hash_lb_config.minimum_ring_size: must be at most 8388608, is 8388609".into()],
        ),
        (
            CLUSTER,
            json!({"name": "a", "health_checks": [{
                "timeout": "0s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
                "tcp_health_check": {}}]}),
            vec!["health_checks[0].timeout: must be greater than 0s, is 0s".into()],
        ),
        (
            "envoy.type.v3.Percent",
            json!({"value": 100.5}),
            vec!["value: must be at least 0 and at most 100, is 100.5".into()],
        ),
        // Messages that have to be there.
        (
            CLUSTER,
            json!({"name": "a", "health_checks": [{"timeout": "1s", "interval": "1s", "tcp_health_check": {}}]}),
            vec![
                "health_checks[0].unhealthy_threshold: must be set".into(),
                "health_checks[0].healthy_threshold: must be set".into(),
            ],
        ),
        // One of several.
        (
            ROUTES,
            to(json!({})),
            vec![in_route("route.cluster_specifier: one of its fields must be set")],
        ),
        // Enums.
        (CLUSTER, json!({"name": "a", "lb_policy": 77}), vec!["lb_policy: 77 is no value of this enum".into()]),
        // Lists.
        (
            ROUTES,
            json!({"virtual_hosts": [{"name": "v", "domains": []}]}),
            vec!["virtual_hosts[0].domains: must not be empty".into()],
        ),
        (
            "envoy.config.core.v3.HttpUri",
            json!({"uri": "/x", "cluster": "c"}),
            vec!["timeout: must be set".into()],
        ),
        (
            ROUTES,
            json!({"internal_only_headers": ["ok", "not\nok"]}),
            vec!["internal_only_headers[1]: must not contain NUL or line breaks".into()],
        ),
        (
            "envoy.config.route.v3.WeightedCluster",
            json!({"clusters": []}),
            vec!["clusters: must not be empty".into()],
        ),
        // Maps.
        (
            "envoy.config.core.v3.Metadata",
            json!({"filter_metadata": {"": {}}}),
            vec!["filter_metadata[\"\"]: must not be empty".into()],
        ),
        // What an extension holds, however deep.
        (
            LISTENER,
            json!({"name": "l", "filter_chains": [{"filters": [{"name": "hcm", "typed_config": any(
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                json!({"rds": {"route_config_name": "r"}, "http_filters": [{"name": "lua", "typed_config": any(
                    "envoy.extensions.filters.http.rbac.v3.RBAC",
                    json!({"rules": {"policies": {"p": {"permissions": [{}], "principals": []}}}}),
                )}]}),
            )}]}]}),
            vec![
                "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.rules.policies[\"p\"].permissions[0].rule: one of its fields must be set".into(),
                "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.rules.policies[\"p\"].principals: must not be empty".into(),
                "filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty".into(),
            ],
        ),
    ];
    for (message, value, expected) in cases {
        assert_eq!(errors(message, &value), expected, "{message} {value}");
    }
}

#[test]
fn bytes_that_are_no_message() {
    let found = |body: &[u8]| validate_message(CLUSTER, body).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(found(&[0x0a, 0x05, b'a']), [": not an encoded envoy.config.cluster.v3.Cluster"]);
    assert_eq!(found(&[0x0a, 0x01, 0xff]), [": not an encoded envoy.config.cluster.v3.Cluster"]);
    assert_eq!(validate_message("a.B", &[])[0].message, "a.B is not in Envoy's API");
    let unknown = xds_api::google::protobuf::Any { type_url: "x/a.B".into(), value: b"".as_slice().into() };
    let cluster = xds_api::envoy::config::cluster::v3::Cluster {
        name: "c".into(),
        typed_extension_protocol_options: [("x".to_owned(), unknown)].into(),
        ..Default::default()
    };
    let body = prost::Message::encode_to_vec(&cluster);
    assert_eq!(found(&body), ["typed_extension_protocol_options[\"x\"]: a.B is not in Envoy's API"]);
}

/// Printed, not asserted: ten thousand clusters and as many routes.
#[test]
fn pace() {
    const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = json!({
        "name": "c", "type": "EDS", "connect_timeout": "5s", "lb_policy": "LEAST_REQUEST",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "circuit_breakers": {"thresholds": [{"max_requests": 1024, "max_connections": 1024}]},
        "transport_socket": {"name": "tls", "typed_config": any(TLS, json!({"sni": "a.example.com"}))},
        "typed_extension_protocol_options": {HTTP: any(HTTP, json!({"explicit_http_config": {"http2_protocol_options": {}}}))},
    });
    let route = json!({"match": {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "b"}}]}, "route": {"cluster": "c", "timeout": "10s", "retry_policy": {"retry_on": "5xx", "num_retries": 2}}});
    let cluster = xds_api::message_from_value(CLUSTER, &cluster).unwrap();
    let route = xds_api::message_from_value("envoy.config.route.v3.Route", &route).unwrap();
    assert_eq!(validate_message(CLUSTER, &cluster), []);
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        assert!(validate_message(CLUSTER, &cluster).is_empty());
        assert!(validate_message("envoy.config.route.v3.Route", &route).is_empty());
    }
    println!("10,000 clusters and 10,000 routes: {:?}", start.elapsed());
}
