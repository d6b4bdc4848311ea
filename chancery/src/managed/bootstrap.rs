//! The bootstrap of a managed Envoy: what `chancery bootstrap` prints, with a page for probes and scrapers, and with mutual
//! TLS to the control plane.

use std::collections::BTreeMap;

use kinds::ObjectId;
use kinds::envoy_gateway::EnvoyProxySpec;
use serde_json::{Value, json};

use super::Settings;
use super::patch::{Patch, PatchType};
use crate::commands::bootstrap::{self, Protocol, Transport};

/// Envoy's own pages, for itself alone.
pub(super) const ADMIN_PORT: u16 = 19000;
/// `/ready` and `/stats/prometheus`, for the cluster.
pub(super) const PAGES_PORT: u16 = 19001;
/// Where the ConfigMap is mounted, and where the Secret is.
pub(super) const CONFIG_DIRECTORY: &str = "/etc/envoy";
pub(super) const IDENTITY_DIRECTORY: &str = "/etc/envoy-identity";

/// The files of the ConfigMap.
pub(super) fn files(
    gateway: &ObjectId,
    proxy: Option<&EnvoyProxySpec>,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, String> {
    let mut bootstrap = default(gateway, settings)?;
    if let Some(asked) = proxy.and_then(|proxy| proxy.bootstrap.as_ref()) {
        bootstrap = adjusted(bootstrap, asked)?;
    }
    let mut files = BTreeMap::from([("bootstrap.yaml".to_owned(), yaml(&bootstrap)?)]);
    if settings.mutual_tls {
        files.insert("identity.yaml".to_owned(), yaml(&identity())?);
        files.insert("authority.yaml".to_owned(), yaml(&authority())?);
    }
    Ok(files)
}

fn yaml(value: &Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

fn default(gateway: &ObjectId, settings: &Settings) -> Result<Value, String> {
    let text = bootstrap::render(&bootstrap::Args {
        gateway: format!("{}/{}", gateway.namespace, gateway.name),
        xds: vec![settings.xds.clone()],
        admin: format!("127.0.0.1:{ADMIN_PORT}"),
        // The pod's name is given on the command line, over this one.
        node_id: "envoy".to_owned(),
        protocol: Protocol::Delta,
        transport: Transport::default(),
    })
    .map_err(|error| error.to_string())?;
    let mut bootstrap: Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    // An Envoy that knows nothing yet must not be ready: it waits for the control plane, however long.
    for source in ["lds_config", "cds_config"] {
        bootstrap["dynamic_resources"][source]["initial_fetch_timeout"] = json!("0s");
    }
    bootstrap["static_resources"]["listeners"] = json!([pages()]);
    if let Some(clusters) = bootstrap["static_resources"]["clusters"].as_array_mut() {
        if let Some(control) = clusters.first_mut() {
            // A name that has both kinds of address is reached by the kind that we listen on.
            control["dns_lookup_family"] = json!("V4_PREFERRED");
            if settings.mutual_tls {
                control["transport_socket"] = transport(settings);
            }
        }
        clusters.push(admin_cluster());
    }
    Ok(bootstrap)
}

/// `/ready` answers 200 when every listener and route has arrived: static listeners open after that.
fn pages() -> Value {
    json!({
        "name": "chancery-pages",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": PAGES_PORT}},
        "bypass_overload_manager": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "pages",
                "normalize_path": true,
                "route_config": {"name": "pages", "virtual_hosts": [{
                    "name": "pages",
                    "domains": ["*"],
                    "routes": [{
                        "match": {"path": "/stats/prometheus", "headers": [
                            {"name": ":method", "string_match": {"exact": "GET"}}]},
                        "route": {"cluster": "chancery-admin"},
                    }],
                }]},
                "http_filters": [
                    {"name": "envoy.filters.http.health_check", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
                        "pass_through_mode": false,
                        "headers": [{"name": ":path", "string_match": {"exact": "/ready"}}],
                    }},
                    {"name": "envoy.filters.http.router", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
                ],
            },
        }]}],
    })
}

fn admin_cluster() -> Value {
    json!({
        "name": "chancery-admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "chancery-admin", "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}},
        }]}]},
    })
}

fn transport(settings: &Settings) -> Value {
    let secret = |name: &str| {
        json!({"name": name, "sds_config": {
            "path_config_source": {
                "path": format!("{CONFIG_DIRECTORY}/{name}.yaml"),
                "watched_directory": {"path": IDENTITY_DIRECTORY},
            },
            "resource_api_version": "V3",
        }})
    };
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": settings.server_name(),
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificate_sds_secret_configs": [secret("identity")],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": settings.server_name()}}]},
                    "validation_context_sds_secret_config": secret("authority"),
                },
            },
        },
    })
}

fn identity() -> Value {
    let file = |name: &str| json!({"filename": format!("{IDENTITY_DIRECTORY}/{name}")});
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "identity",
        "tls_certificate": {
            "certificate_chain": file("tls.crt"),
            "private_key": file("tls.key"),
            "watched_directory": {"path": IDENTITY_DIRECTORY},
        },
    }]})
}

fn authority() -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "authority",
        "validation_context": {
            "trusted_ca": {"filename": format!("{IDENTITY_DIRECTORY}/ca.crt")},
            "watched_directory": {"path": IDENTITY_DIRECTORY},
        },
    }]})
}

/// `EnvoyProxy.spec.bootstrap`: over ours, or in its place.
fn adjusted(mut ours: Value, asked: &Value) -> Result<Value, String> {
    let kind = asked.get("type").and_then(Value::as_str).unwrap_or("Replace");
    let written = || -> Result<Value, String> {
        let text = asked.get("value").and_then(Value::as_str).unwrap_or_default();
        serde_saphyr::from_str(text).map_err(|error| format!("spec.bootstrap.value: {error}"))
    };
    match kind {
        "Replace" => written(),
        "Merge" => {
            Patch { kind: PatchType::StrategicMerge, value: written()? }.apply(&mut ours);
            Ok(ours)
        }
        other => Err(format!("spec.bootstrap.type: {other} is not applied here: use Merge or Replace")),
    }
}
