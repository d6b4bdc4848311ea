//! The Deployment or DaemonSet of a Gateway's Envoys: its `spec`.

use std::time::Duration;

use kinds::envoy_gateway::EnvoyProxySpec;
use serde_json::{Map, Value, json};

use super::Settings;
use super::bootstrap::{CONFIG_DIRECTORY, IDENTITY_DIRECTORY, PAGES_PORT};
use super::provider::{Pod, Provider, Workload};

/// How long an Envoy that is to end goes on serving, while the cluster takes it out of its Services.
const MIN_DRAIN: Duration = Duration::from_secs(10);
/// How long its open requests may take after that.
const DRAIN: Duration = Duration::from_secs(60);

/// What the parts of a workload are called, and what they look like.
pub(super) struct Parts<'a> {
    pub name: &'a str,
    pub labels: &'a Value,
    pub annotations: &'a Value,
    pub selector: &'a Value,
    /// A hash of the ConfigMap: Envoy reads its bootstrap once, so another one wants another pod.
    pub config: &'a str,
}

pub(super) fn spec(
    parts: &Parts<'_>,
    provider: &Provider,
    proxy: Option<&EnvoyProxySpec>,
    settings: &Settings,
) -> Value {
    let workload = provider.workload();
    let mut spec = json!({
        "selector": {"matchLabels": parts.selector},
        "template": {
            "metadata": metadata(parts, &workload.pod),
            "spec": pod(parts, &workload, provider, proxy, settings),
        },
    });
    let strategy = if provider.envoy_daemon_set.is_some() { "updateStrategy" } else { "strategy" };
    if let Some(asked) = &workload.strategy {
        spec[strategy] = asked.clone();
    }
    // A number of replicas would be taken back from the autoscaler at each apply.
    if provider.envoy_daemon_set.is_none() && provider.envoy_hpa.is_none() {
        spec["replicas"] = json!(workload.replicas.unwrap_or(1));
    }
    spec
}

fn metadata(parts: &Parts<'_>, asked: &Pod) -> Value {
    let (mut labels, mut annotations) = (parts.labels.clone(), parts.annotations.clone());
    annotations["chancery.dev/config"] = json!(parts.config);
    for (name, value) in [("scrape", "true"), ("path", "/stats/prometheus"), ("port", &PAGES_PORT.to_string())] {
        annotations[format!("prometheus.io/{name}")] = json!(value);
    }
    for (name, value) in &asked.labels {
        // Pods must stay selected.
        if parts.selector.get(name).is_none() {
            labels[name] = json!(value);
        }
    }
    for (name, value) in &asked.annotations {
        annotations[name] = json!(value);
    }
    json!({"labels": labels, "annotations": annotations})
}

fn pod(
    parts: &Parts<'_>,
    workload: &Workload,
    provider: &Provider,
    proxy: Option<&EnvoyProxySpec>,
    settings: &Settings,
) -> Value {
    let asked = &workload.pod;
    let mut volumes = vec![json!({"name": "config", "configMap": {"name": parts.name}})];
    if settings.mutual_tls {
        volumes.push(json!({"name": "identity", "secret": {"secretName": parts.name}}));
    }
    volumes.extend(asked.volumes.iter().cloned());
    let account = provider.envoy_service_account.name.as_deref().unwrap_or(parts.name);
    let (min_drain, drain) = drains(proxy);
    let mut pod = json!({
        "serviceAccountName": account,
        // Envoy asks nothing of the API server.
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": (min_drain + drain).as_secs(),
        "securityContext": asked.security_context.clone().unwrap_or_else(|| json!({
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
            // A listener's port is the Gateway's, 80 for one, and whoever is not root may open it.
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        })),
        "volumes": volumes,
        "containers": [container(workload, proxy, settings, min_drain)],
    });
    let optional = [
        ("affinity", json!(asked.affinity)),
        ("tolerations", json!(asked.tolerations)),
        ("imagePullSecrets", json!(asked.image_pull_secrets)),
        ("nodeSelector", json!(asked.node_selector)),
        ("topologySpreadConstraints", json!(asked.topology_spread_constraints)),
        ("priorityClassName", json!(asked.priority_class_name)),
        ("initContainers", json!(workload.init_containers)),
    ];
    for (field, value) in optional {
        if !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)) {
            pod[field] = value;
        }
    }
    pod
}

fn container(workload: &Workload, proxy: Option<&EnvoyProxySpec>, settings: &Settings, min_drain: Duration) -> Value {
    let asked = &workload.container;
    let tag = settings.image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let image = asked.image.clone().or_else(|| asked.image_repository.as_ref().map(|name| format!("{name}:{tag}")));
    let from_field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut env = vec![from_field("POD_NAME", "metadata.name"), from_field("POD_NAMESPACE", "metadata.namespace")];
    env.extend(asked.env.iter().cloned());
    let mut mounts = vec![json!({"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": true})];
    if settings.mutual_tls {
        mounts.push(json!({"name": "identity", "mountPath": IDENTITY_DIRECTORY, "readOnly": true}));
    }
    mounts.extend(asked.volume_mounts.iter().cloned());
    let probe = |period: u32, failures: u32| {
        json!({
            "httpGet": {"path": "/ready", "port": PAGES_PORT},
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 1,
        })
    };
    let mut container = json!({
        "name": "envoy",
        "image": image.unwrap_or_else(|| settings.image.clone()),
        "args": arguments(proxy),
        "env": env,
        "ports": [{"name": "pages", "containerPort": PAGES_PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        "resources": asked.resources.clone().unwrap_or_else(|| json!({"requests": {"cpu": "100m", "memory": "256Mi"}})),
        "readinessProbe": probe(5, 1),
        // Ready means that the control plane was reached, which may take as long as it likes.
        "livenessProbe": json!({"tcpSocket": {"port": PAGES_PORT}, "periodSeconds": 10, "failureThreshold": 6}),
        "startupProbe": probe(1, 3600),
        "securityContext": asked.security_context.clone().unwrap_or_else(|| json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })),
    });
    if !min_drain.is_zero() {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": min_drain.as_secs()}}});
    }
    container
}

fn arguments(proxy: Option<&EnvoyProxySpec>) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--config-path",
        &format!("{CONFIG_DIRECTORY}/bootstrap.yaml"),
        "--service-node",
        "$(POD_NAME)",
        // One process in a container: nobody takes over from it.
        "--disable-hot-restart",
        "--drain-time-s",
        &drains(proxy).1.as_secs().to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    let levels = proxy.and_then(|proxy| proxy.logging.as_ref()).and_then(|logging| logging.get("level"));
    let none = Map::new();
    let levels = levels.and_then(Value::as_object).unwrap_or(&none);
    let (default, components): (Vec<_>, Vec<_>) = levels.iter().partition(|(name, _)| *name == "default");
    let level = default.first().and_then(|(_, level)| level.as_str()).unwrap_or("warn");
    arguments.extend(["--log-level".to_owned(), level.to_owned()]);
    if !components.is_empty() {
        let named = components.iter().map(|(name, level)| format!("{name}:{}", level.as_str().unwrap_or("warn")));
        arguments.extend(["--component-log-level".to_owned(), named.collect::<Vec<_>>().join(",")]);
    }
    if let Some(proxy) = proxy {
        if let Some(concurrency) = proxy.concurrency {
            arguments.extend(["--concurrency".to_owned(), concurrency.to_string()]);
        }
        arguments.extend(proxy.extra_args.iter().map(ToString::to_string));
    }
    arguments
}

/// How long an Envoy goes on before it ends, and how long its requests may take.
fn drains(proxy: Option<&EnvoyProxySpec>) -> (Duration, Duration) {
    let shutdown = proxy.and_then(|proxy| proxy.shutdown.as_ref());
    let min = shutdown.and_then(|shutdown| shutdown.min_drain_duration.as_ref()).map(|duration| duration.0);
    let all = shutdown.and_then(|shutdown| shutdown.drain_timeout.as_ref()).map(|duration| duration.0);
    (min.unwrap_or(MIN_DRAIN), all.unwrap_or(DRAIN))
}
