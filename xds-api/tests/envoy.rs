//! The field rules against the judge: what a stock Envoy says to the same clusters and listeners.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use xds_api::{message_from_value, message_to_yaml, validate_message};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

fn envoy() -> Option<PathBuf> {
    testkit::envoy_binary().inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()
}

/// What Envoy says about a configuration: nothing if it takes it.
fn verdict(envoy: &Path, file: &Path) -> Option<String> {
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--use-dynamic-base-id", "-l", "error", "-c"])
        .arg(file)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output();
    let output = output.unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn with(cluster: Value) -> Value {
    json!({"static_resources": {"clusters": [cluster]}})
}

fn route(route: Value) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    json!({"static_resources": {
        "clusters": [{"name": "c", "connect_timeout": "1s"}],
        "listeners": [{
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 10000}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }],
    }})
}

#[test]
fn envoy_refuses_what_breaks_a_rule_and_takes_the_rest() {
    let Some(envoy) = envoy() else { return };
    let health = |check: Value| with(json!({"name": "c", "health_checks": [check]}));
    let cases = [
        with(json!({"name": "c"})),
        with(json!({})),
        with(json!({"name": "c", "lb_policy": 77})),
        with(json!({"name": "c", "connect_timeout": "0s"})),
        with(json!({"name": "c", "ring_hash_lb_config": {"minimum_ring_size": 9_000_000}, "lb_policy": "RING_HASH"})),
        with(json!({"name": "c", "outlier_detection": {"max_ejection_percent": 101}})),
        with(json!({"name": "c", "outlier_detection": {"max_ejection_percent": 100}})),
        with(
            json!({"name": "c", "circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 101}}}]}}),
        ),
        health(json!({"timeout": "1s", "interval": "1s", "tcp_health_check": {}})),
        health(
            json!({"timeout": "0s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}),
        ),
        health(json!({"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1})),
        health(
            json!({"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "http_health_check": {"path": ""}}),
        ),
        health(
            json!({"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "http_health_check": {"path": "/ok"}}),
        ),
        with(json!({"name": "c", "transport_socket": {"name": ""}})),
        route(json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}})),
        route(json!({"match": {}, "route": {"cluster": "c"}})),
        route(json!({"match": {"prefix": "/"}, "route": {}})),
        route(json!({"match": {"prefix": "/"}, "route": {"cluster": ""}})),
        route(json!({"match": {"prefix": "/"}, "route": {"cluster": "c", "prefix_rewrite": "a\nb"}})),
        route(json!({"match": {"prefix": "/"}, "direct_response": {"status": 99}})),
        route(json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}})),
        route(json!({"match": {"prefix": "/", "headers": [{"name": ""}]}, "route": {"cluster": "c"}})),
        route(json!({"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": []}}})),
        route(
            json!({"match": {"prefix": "/"}, "route": {"cluster": "c", "retry_policy": {"retry_back_off": {"base_interval": "0s"}}}}),
        ),
        route(json!({"match": {"prefix": "/"}, "route": {"cluster": "c", "rate_limits": [{"actions": []}]}})),
        route(
            json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}, "request_headers_to_add": [{"header": {"key": "", "value": "v"}}]}),
        ),
        route(json!({"match": {"prefix": "/"}, "route": {"cluster": "c", "hash_policy": [{}]}})),
    ];
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (mut taken, mut refused) = (0, 0);
    for (number, case) in cases.iter().enumerate() {
        let body = message_from_value(BOOTSTRAP, case).unwrap();
        let file = directory.join(format!("rule-{number}.yaml"));
        std::fs::write(&file, message_to_yaml(BOOTSTRAP, &body).unwrap()).unwrap();
        let (ours, theirs) = (validate_message(BOOTSTRAP, &body), verdict(&envoy, &file));
        assert_eq!(ours.is_empty(), theirs.is_none(), "{case}\nours {ours:?}\nEnvoy {theirs:?}");
        if let Some(reason) = theirs {
            assert!(reason.contains("Proto constraint validation failed"), "{case}\n{reason}");
            refused += 1;
        } else {
            taken += 1;
        }
    }
    assert!(taken >= 5 && refused >= 20, "{taken} {refused}");
}

#[test]
fn envoy_reads_what_is_written() {
    let Some(envoy) = envoy() else { return };
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let from = entry.unwrap().path();
        let body = xds_api::message_from_yaml(BOOTSTRAP, &std::fs::read_to_string(&from).unwrap()).unwrap();
        let written = message_to_yaml(BOOTSTRAP, &body).unwrap();
        // Envoy wants the files that are named to exist; what is in them does not matter here.
        let keys = r#"{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}"#;
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwks.json"), keys).unwrap();
        for path in written.lines().filter_map(|line| line.trim().strip_prefix("path: sds/")) {
            let secrets = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sds");
            std::fs::create_dir_all(&secrets).unwrap();
            std::fs::write(secrets.join(path), "resources: []\n").unwrap();
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(from.file_name().unwrap());
        std::fs::write(&file, written).unwrap();
        assert_eq!(verdict(&envoy, &file), None, "{}", from.display());
    }
}
