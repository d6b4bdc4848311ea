//! A stock Envoy's verdict on every case, in one run: all resources of all cases as one static configuration.
//!
//! Names get their case in front, ports are made unique, and what comes over xDS in life is written inside: scopes with
//! their tables, clusters with their endpoints, secrets beside those that use them.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use serde_json::{Map, Value, json};
use translator::UNRESOLVED_CLUSTER;
use xds_api::{ResourceType, to_value};

use crate::case::Case;

pub(crate) fn accepts(cases: &[Case]) -> Result<(), Failed> {
    let Err(all) = judge(cases) else { return Ok(()) };
    // Which ones is worth a run for each.
    let mut refused = String::new();
    for case in cases {
        if let Err(words) = judge(std::slice::from_ref(case)) {
            refused.push_str(&format!("{}:\n{words}\n", case.name));
        }
    }
    if refused.is_empty() { Err(format!("only together: {all}").into()) } else { Err(refused.into()) }
}

fn judge(cases: &[Case]) -> Result<(), String> {
    let mut merged = Merged { port: 20_000, ..Merged::default() };
    for (index, case) in cases.iter().enumerate() {
        merged.add(index, case).map_err(|error| format!("{}: {error}", case.name))?;
    }
    testkit::validate(&merged.bootstrap()).map_err(|error| error.to_string())
}

#[derive(Default)]
struct Merged {
    port: u64,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    secrets: Vec<Value>,
}

impl Merged {
    fn add(&mut self, index: usize, case: &Case) -> Result<(), xds_api::Error> {
        for (position, resources) in case.translate().resources.into_values().enumerate() {
            let prefix = format!("{index}.{position}:");
            let mut by_kind: BTreeMap<ResourceType, Vec<Value>> = BTreeMap::new();
            let named: Vec<String> = resources
                .iter()
                .filter(|r| !matches!(r.kind, ResourceType::ScopedRoute | ResourceType::ExtensionConfig))
                .map(|resource| resource.name.to_string())
                .collect();
            for resource in &resources {
                let mut value = to_value(resource.kind, &resource.body)?;
                rename(&mut value, &named, &prefix);
                by_kind.entry(resource.kind).or_default().push(value);
            }
            let mut take = |kind| by_kind.remove(&kind).unwrap_or_default();
            let tables = by_name(take(ResourceType::RouteConfiguration), "name");
            let extensions = by_name(take(ResourceType::ExtensionConfig), "name");
            let endpoints = by_name(take(ResourceType::Endpoints), "cluster_name");
            let scopes: Vec<Value> =
                take(ResourceType::ScopedRoute).into_iter().map(|s| with_table(s, &tables)).collect();
            for cluster in take(ResourceType::Cluster) {
                let mut cluster = with_endpoints(cluster, &endpoints);
                write_inside(&mut cluster, &[], &extensions);
                self.clusters.push(cluster);
            }
            self.secrets.extend(take(ResourceType::Secret));
            for mut listener in take(ResourceType::Listener) {
                write_inside(&mut listener, &scopes, &extensions);
                self.port += 1;
                listener["address"]["socket_address"]["port_value"] = json!(self.port);
                self.listeners.push(listener);
            }
        }
        Ok(())
    }

    fn bootstrap(mut self) -> String {
        // A table that comes over xDS may name a cluster that does not exist; one written inside may not.
        self.clusters.push(json!({"name": UNRESOLVED_CLUSTER, "type": "STATIC"}));
        json!({
            "node": {"id": "golden", "cluster": "golden"},
            "static_resources": {"listeners": self.listeners, "clusters": self.clusters, "secrets": self.secrets},
        })
        .to_string()
    }
}

/// Puts the prefix in front of every text that is exactly a resource's name.
fn rename(value: &mut Value, names: &[String], prefix: &str) {
    match value {
        Value::String(text) if names.contains(text) => *text = format!("{prefix}{text}"),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names, prefix)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, names, prefix)),
        _ => {}
    }
}

fn by_name(values: Vec<Value>, field: &str) -> Map<String, Value> {
    values.into_iter().map(|value| (value[field].as_str().unwrap_or_default().to_owned(), value)).collect()
}

fn with_table(mut scope: Value, tables: &Map<String, Value>) -> Value {
    if let Some(name) = scope.as_object_mut().and_then(|fields| fields.remove("route_configuration_name")) {
        scope["route_configuration"] = tables.get(name.as_str().unwrap_or_default()).cloned().unwrap_or_default();
    }
    scope
}

fn with_endpoints(mut cluster: Value, endpoints: &Map<String, Value>) -> Value {
    let Some(fields) = cluster.as_object_mut() else { return cluster };
    if let Some(eds) = fields.remove("eds_cluster_config") {
        let name = eds["service_name"].as_str().unwrap_or_default();
        fields.insert("type".to_owned(), json!("STATIC"));
        fields.insert("load_assignment".to_owned(), endpoints.get(name).cloned().unwrap_or_default());
    }
    cluster
}

fn write_inside(value: &mut Value, scopes: &[Value], extensions: &Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            if fields.remove("scoped_rds").is_some() {
                let list = json!({ "scoped_route_configurations": scopes });
                fields.insert("scoped_route_configurations_list".to_owned(), list);
            }
            fields.remove("sds_config");
            if fields.remove("config_discovery").is_some() {
                let name = fields["name"].as_str().unwrap_or_default();
                let extension = extensions.get(name).map(|extension| extension["typed_config"].clone());
                fields.insert("typed_config".to_owned(), extension.unwrap_or_default());
            }
            fields.values_mut().for_each(|field| write_inside(field, scopes, extensions));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| write_inside(item, scopes, extensions)),
        _ => {}
    }
}
