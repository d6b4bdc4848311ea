//! The part of an EnvoyProxy that says how Envoys are deployed. What Kubernetes defines is passed on as it is.

use std::collections::BTreeMap;

use kinds::envoy_gateway::EnvoyProxySpec;
use serde::Deserialize;
use serde_json::Value;

use super::patch::Patch;

macro_rules! sections {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name { $($(#[$field_meta])* pub $field: $ty,)+ }
    )+};
}

sections! {
    Provider {
        envoy_deployment: Option<Workload>,
        /// With it the Envoys are one for each node.
        envoy_daemon_set: Option<Workload>,
        envoy_service: Service,
        envoy_hpa: Option<Scaling>,
        #[serde(rename = "envoyPDB")]
        envoy_pdb: Option<Disruption>,
        envoy_service_account: Named,
    }

    Workload {
        name: Option<String>,
        replicas: Option<u32>,
        strategy: Option<Value>,
        container: Container,
        pod: Pod,
        init_containers: Vec<Value>,
        patch: Option<Patch>,
    }

    Container {
        env: Vec<Value>,
        resources: Option<Value>,
        security_context: Option<Value>,
        image: Option<String>,
        image_repository: Option<String>,
        volume_mounts: Vec<Value>,
    }

    Pod {
        annotations: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        security_context: Option<Value>,
        affinity: Option<Value>,
        tolerations: Vec<Value>,
        volumes: Vec<Value>,
        image_pull_secrets: Vec<Value>,
        node_selector: Option<Value>,
        topology_spread_constraints: Vec<Value>,
        priority_class_name: Option<String>,
    }

    Service {
        #[serde(rename = "type")]
        kind: Option<String>,
        name: Option<String>,
        annotations: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        load_balancer_class: Option<String>,
        allocate_load_balancer_node_ports: Option<bool>,
        load_balancer_source_ranges: Vec<String>,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: Option<String>,
        external_traffic_policy: Option<String>,
        patch: Option<Patch>,
    }

    Scaling {
        name: Option<String>,
        min_replicas: Option<u32>,
        max_replicas: Option<u32>,
        metrics: Vec<Value>,
        behavior: Option<Value>,
        patch: Option<Patch>,
    }

    Disruption {
        name: Option<String>,
        min_available: Option<Value>,
        max_unavailable: Option<Value>,
        patch: Option<Patch>,
    }

    Named {
        name: Option<String>,
    }
}

impl Provider {
    /// What an EnvoyProxy asks for; the reason when it cannot be had.
    pub(super) fn read(proxy: Option<&EnvoyProxySpec>) -> Result<Self, String> {
        let Some(provider) = proxy.and_then(|proxy| proxy.provider.as_ref()) else { return Ok(Self::default()) };
        match provider.get("type").and_then(Value::as_str) {
            None | Some("Kubernetes") => {}
            Some(other) => return Err(format!("spec.provider.type: {other} is not a way to run Envoys here")),
        }
        match provider.get("kubernetes") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(section) => serde_path_to_error::deserialize(section.clone())
                .map_err(|error| format!("spec.provider.kubernetes.{}: {}", error.path(), error.inner())),
        }
    }

    pub(super) fn workload(&self) -> Workload {
        self.envoy_daemon_set.clone().or_else(|| self.envoy_deployment.clone()).unwrap_or_default()
    }
}
