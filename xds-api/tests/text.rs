//! Text to bytes and back: the form that people read loses nothing, and what does not fit says where.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use prost::Message;
use serde_json::json;
use xds_api::envoy::config::bootstrap::v3::Bootstrap;
use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::core::v3::{Metadata, Node};
use xds_api::google::protobuf::{Duration, ListValue, Struct, Value, value};
use xds_api::{Error, Misfit, Position, Resource, ResourceType};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

fn configurations() -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 4);
    files.into_iter().map(|file| (file.display().to_string(), std::fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn real_configurations_come_back_as_they_went() {
    for (file, text) in configurations() {
        let body = xds_api::message_from_yaml(BOOTSTRAP, &text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let written = xds_api::message_to_yaml(BOOTSTRAP, &body).unwrap();
        assert_eq!(xds_api::message_from_yaml(BOOTSTRAP, &written).unwrap(), body, "{file}");
        assert_eq!(xds_api::message_to_yaml(BOOTSTRAP, &body).unwrap(), written);
        let value = xds_api::message_to_value(BOOTSTRAP, &body).unwrap();
        assert_eq!(xds_api::message_from_value(BOOTSTRAP, &value).unwrap(), body, "{file}");
        // The bytes are those of the generated types: a patched resource and an untouched one compare equal.
        assert_eq!(Bootstrap::decode(body.clone()).unwrap().encode_to_vec(), body.to_vec(), "{file}");
    }
}

#[test]
fn resources_of_a_configuration_as_lists() {
    for (file, text) in configurations() {
        let body = xds_api::message_from_yaml(BOOTSTRAP, &text).unwrap();
        let resources = Bootstrap::decode(body).unwrap().static_resources.unwrap();
        let clusters: Vec<Resource> =
            resources.clusters.iter().map(|c| Resource::encode(ResourceType::Cluster, &c.name, c)).collect();
        let listeners: Vec<Resource> =
            resources.listeners.iter().map(|l| Resource::encode(ResourceType::Listener, &l.name, l)).collect();
        for list in [clusters, listeners] {
            let text = xds_api::list_to_yaml(list.iter().rev()).unwrap();
            let mut sorted = list.clone();
            sorted.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(xds_api::from_yaml(list[0].kind, &text).unwrap(), sorted, "{file}");
        }
    }
}

#[test]
fn a_cluster_as_people_read_it() {
    let body = xds_api::message_from_yaml(
        CLUSTER,
        r#"
        perConnectionBufferLimitBytes: 32768
        connectTimeout: 5.25s
        lb_policy: 1
        type: EDS
        name: "on"
        metadata: {filter_metadata: {z: {n: 1.5, list: [null, true, "1"]}, a: {}}}
        typedExtensionProtocolOptions:
          envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
            explicitHttpConfig: {http2ProtocolOptions: {maxConcurrentStreams: 1}}
            "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        circuit_breakers: {thresholds: [{max_requests: 0}]}
        "#,
    )
    .unwrap();
    let resource = Resource::from_body(ResourceType::Cluster, body).unwrap();
    assert_eq!(&*resource.name, "on");
    let expected = "\
name: 'on'
type: EDS
connect_timeout: 5.250s
per_connection_buffer_limit_bytes: 32768
lb_policy: LEAST_REQUEST
circuit_breakers:
  thresholds:
  - max_requests: 0
metadata:
  filter_metadata:
    a: {}
    z:
      list:
      - null
      - true
      - '1'
      'n': 1.5
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config:
      http2_protocol_options:
        max_concurrent_streams: 1
";
    assert_eq!(xds_api::to_yaml(&resource).unwrap(), expected);
    assert!(xds_api::to_json(&resource).unwrap().starts_with("{\n  \"name\": \"on\",\n  \"type\": \"EDS\","));
}

fn misfit(text: &str) -> Misfit {
    match xds_api::message_from_yaml(CLUSTER, text) {
        Err(Error::Field(misfit)) => misfit,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn what_does_not_fit_says_where() {
    let cases = [
        (
            "name: a\nnaem: b\n",
            "naem",
            2,
            1,
            "unknown field \"naem\" of envoy.config.cluster.v3.Cluster; did you mean \"name\"?",
        ),
        ("name: 5\n", "name", 1, 7, "expected text, found a number: quote it"),
        ("connect_timeout: 5\n", "connect_timeout", 1, 18, "expected a duration, as 1.5s, found a number"),
        ("connect_timeout: 5m\n", "connect_timeout", 1, 18, "\"5m\" is no duration: write seconds, as 1.5s"),
        ("lb_policy: NONE\n", "lb_policy", 1, 12, "envoy.config.cluster.v3.Cluster.LbPolicy has no value \"NONE\""),
        ("name: a\nlbPolicy: 1\nlb_policy: 1\n", "lb_policy", 3, 1, "is set twice"),
        ("type: EDS\ncluster_type: {name: x}\n", "cluster_type", 2, 1, "cannot be set beside type"),
        (
            "circuit_breakers:\n  thresholds:\n  - max_requests: 1\n  - max_requests: -1\n",
            "circuit_breakers.thresholds[1].max_requests",
            4,
            19,
            "-1 is out of range",
        ),
        (
            "transport_socket:\n  name: tls\n  typed_config:\n    snii: x\n    '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n",
            "transport_socket.typed_config.snii",
            4,
            5,
            "unknown field \"snii\" of envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext; did you mean \"sni\"?",
        ),
        (
            "typed_extension_protocol_options:\n  x:\n    '@type': a/b.C\n",
            "typed_extension_protocol_options[\"x\"].@type",
            3,
            14,
            "there is no message \"b.C\" in Envoy's API",
        ),
        (
            "typed_extension_protocol_options:\n  x: {a: 1}\n",
            "typed_extension_protocol_options[\"x\"]",
            2,
            6,
            "needs @type, the URL of the message's type",
        ),
    ];
    for (text, path, line, column, reason) in cases {
        let found = misfit(text);
        let expected = Misfit { path: path.into(), reason: reason.into(), at: Some(Position { line, column }) };
        assert_eq!(found, expected);
    }
    let error = xds_api::from_value(ResourceType::Cluster, &json!({"name": "a", "eds_cluster_config": {"x": 1}}));
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "eds_cluster_config.x: unknown field \"x\" of envoy.config.cluster.v3.Cluster.EdsClusterConfig");
    assert!(xds_api::message_from_yaml(CLUSTER, "a: [").unwrap_err().to_string().contains("line 1"));
}

#[test]
fn one_value_has_one_encoding() {
    let entry = |i: usize| (format!("key-{i}"), Struct::default());
    let metadata = |order: &mut dyn Iterator<Item = usize>| Node {
        id: "n".into(),
        metadata: Some(Struct {
            fields: order
                .map(|i| {
                    let list = ListValue { values: vec![Value { kind: Some(value::Kind::NumberValue(i as f64)) }] };
                    (format!("f{i}"), Value { kind: Some(value::Kind::ListValue(list)) })
                })
                .collect(),
        }),
        ..Node::default()
    };
    assert_eq!(metadata(&mut (0..20)).encode_to_vec(), metadata(&mut (0..20).rev()).encode_to_vec());
    let typed = Metadata { filter_metadata: (0..20).map(entry).collect(), ..Metadata::default() }.encode_to_vec();
    let value = xds_api::message_to_value("envoy.config.core.v3.Metadata", &typed).unwrap();
    for _ in 0..20 {
        assert_eq!(xds_api::message_from_value("envoy.config.core.v3.Metadata", &value).unwrap(), typed);
    }
}

#[test]
fn numbers_bytes_and_the_type_of_an_any() {
    let value = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "c",
        "connect_timeout": "0.000000001s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 12.5}},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 4294967295_u32}},
    });
    let resource = xds_api::from_value(ResourceType::Cluster, &value).unwrap();
    let cluster = Cluster::decode(resource.body.clone()).unwrap();
    assert_eq!(cluster.connect_timeout, Some(Duration { seconds: 0, nanos: 1 }));
    let mut expected = value;
    expected.as_object_mut().unwrap().remove("@type");
    assert_eq!(xds_api::to_value(ResourceType::Cluster, &resource.body).unwrap(), expected);

    let message = "envoy.config.core.v3.DataSource";
    for text in ["inline_bytes: AAH/\n", "inline_bytes: AAH_\n"] {
        let body = xds_api::message_from_yaml(message, text).unwrap();
        assert_eq!(xds_api::message_to_yaml(message, &body).unwrap(), "inline_bytes: AAH/\n");
    }
    let any = json!({"a": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}});
    let body = xds_api::message_from_value(CLUSTER, &json!({"typed_extension_protocol_options": any})).unwrap();
    assert_eq!(xds_api::message_to_value(CLUSTER, &body).unwrap()["typed_extension_protocol_options"], any);
}
