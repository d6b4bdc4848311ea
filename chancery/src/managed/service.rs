//! The Service in front of a Gateway's Envoys.

use serde_json::{Value, json};
use translator::{DeployedPort, Deployment};

use super::provider::Service;

/// Its `spec`; none while there is no port to serve, since a Service must have one.
pub(super) fn spec(deployment: &Deployment, asked: &Service, selector: &Value) -> Option<Value> {
    if deployment.ports.is_empty() {
        return None;
    }
    let kind = asked.kind.as_deref().unwrap_or("LoadBalancer");
    let mut spec = json!({
        "type": kind,
        "selector": selector,
        "ports": deployment.ports.iter().map(port).collect::<Vec<_>>(),
    });
    if kind != "ClusterIP" {
        // The addresses of clients reach Envoy.
        spec["externalTrafficPolicy"] = json!(asked.external_traffic_policy.as_deref().unwrap_or("Local"));
    }
    let external: Vec<&str> = deployment
        .addresses
        .iter()
        .filter(|address| address.kind.as_deref().is_none_or(|kind| kind == "IPAddress"))
        .filter_map(|address| address.value.as_deref())
        .filter(|value| !value.is_empty())
        .collect();
    if kind == "LoadBalancer" {
        // A load balancer has one address to give.
        let wanted = asked.load_balancer_ip.as_deref().or(external.first().copied());
        let optional = [
            ("loadBalancerClass", json!(asked.load_balancer_class)),
            ("allocateLoadBalancerNodePorts", json!(asked.allocate_load_balancer_node_ports)),
            ("loadBalancerIP", json!(wanted)),
            ("loadBalancerSourceRanges", json!(asked.load_balancer_source_ranges)),
        ];
        for (field, value) in optional {
            if !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)) {
                spec[field] = value;
            }
        }
    }
    if !external.is_empty() {
        spec["externalIPs"] = json!(external);
    }
    Some(spec)
}

/// Envoy listens on the port that the Gateway names.
fn port(port: &DeployedPort) -> Value {
    let (name, protocol) = if port.udp { ("udp", "UDP") } else { ("tcp", "TCP") };
    json!({
        "name": format!("{name}-{}", port.number),
        "port": port.number,
        "targetPort": port.number,
        "protocol": protocol,
    })
}
