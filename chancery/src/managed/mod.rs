//! Managed Envoys: what runs a Gateway, made from the Gateway and the parameters of its class.
//!
//! ```text
//! translator::Deployment --objects()--> Kubernetes objects --apply--> API server
//!                                                          <-watch--  Services: the Gateway's addresses
//! ```
//!
//! Everything stands in the Gateway's own namespace, belongs to the Gateway (and so goes with it), and carries its labels.
//! [`objects`] is pure: the same Gateway gives the same objects, and what was applied before is not applied again.

pub(crate) mod apply;
mod authorities;
mod bootstrap;
pub(crate) mod certificates;
pub(crate) mod identities;
pub(crate) mod names;
pub(crate) mod observe;
mod patch;
mod provider;
mod scaling;
mod service;
pub(crate) mod start;
mod workload;

use kinds::ObjectId;
use kinds::envoy_gateway::EnvoyProxySpec;
use serde_json::{Value, json};
use translator::{Deployment, Parameters};
use xxhash_rust::xxh3::xxh3_64;

use certificates::Lifetimes;
use names::{GATEWAY_CLASS_NAME, GATEWAY_NAME, MANAGED_BY};
use patch::Patch;
use provider::Provider;

/// What is the same for all Envoys of a control plane.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The image of Envoy, unless an EnvoyProxy names another.
    pub image: String,
    /// Where Envoys find the control plane: HOST:PORT.
    pub xds: String,
    pub mutual_tls: bool,
    /// Of what is issued for mutual TLS.
    pub lifetimes: Lifetimes,
    /// A stock rate limit service needs a certificate, too.
    pub stock_limits: bool,
}

impl Settings {
    /// The name that the control plane's certificate says.
    pub(crate) fn server_name(&self) -> &str {
        self.xds.rsplit_once(':').map_or(&self.xds, |(host, _)| host)
    }
}

/// The kinds of what is made: each is looked through for what is no longer wanted.
pub(crate) const KINDS: [(&str, &str, &str); 8] = [
    ("v1", "Secret", "secrets"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "ConfigMap", "configmaps"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("v1", "Service", "services"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
];

/// What is made for a Gateway, in the order in which it is applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    Objects(Vec<Value>),
    /// Its parameters cannot be read: what there is stays as it is.
    Unchanged(String),
}

/// What runs a Gateway.
pub(crate) fn objects(gateway: &ObjectId, deployment: &Deployment, settings: &Settings) -> Wanted {
    let proxy = match &deployment.parameters {
        Parameters::Default => None,
        Parameters::Proxy(proxy) => Some(proxy.as_ref()),
        Parameters::Broken => return Wanted::Unchanged("its parametersRef does not resolve".to_owned()),
    };
    match make(gateway, deployment, proxy, settings) {
        Ok(objects) => Wanted::Objects(objects),
        Err(reason) => Wanted::Unchanged(reason),
    }
}

/// The reason, where the parameters cannot be followed.
fn make(
    gateway: &ObjectId,
    deployment: &Deployment,
    proxy: Option<&EnvoyProxySpec>,
    settings: &Settings,
) -> Result<Vec<Value>, String> {
    let provider = Provider::read(proxy)?;
    let files = bootstrap::files(gateway, proxy, settings)?;
    let maker = Maker { gateway, deployment, name: names::of_gateway(gateway, &deployment.class) };
    let selector = maker.selector();
    let mut made = Vec::new();
    if provider.envoy_service_account.name.is_none() {
        made.push(maker.object("v1", "ServiceAccount", None, json!({"automountServiceAccountToken": false})));
    }
    let config = xxh3_64(json!(files).to_string().as_bytes());
    made.push(maker.object("v1", "ConfigMap", None, json!({"data": files})));

    let workload = provider.workload();
    let parts = workload::Parts {
        name: &maker.name,
        labels: &maker.labels(),
        annotations: &json!(deployment.annotations),
        selector: &selector,
        config: &format!("{config:016x}"),
    };
    let spec = workload::spec(&parts, &provider, proxy, settings);
    let kind = if provider.envoy_daemon_set.is_some() { "DaemonSet" } else { "Deployment" };
    let object = maker.object("apps/v1", kind, workload.name.as_deref(), json!({"spec": spec}));
    let target = object["metadata"]["name"].clone();
    made.push(patched(object, workload.patch.as_ref())?);

    let asked = &provider.envoy_service;
    if let Some(spec) = service::spec(deployment, asked, &selector) {
        let mut object = maker.object("v1", "Service", asked.name.as_deref(), json!({"spec": spec}));
        for (name, value) in &asked.labels {
            object["metadata"]["labels"][name] = json!(value);
        }
        for (name, value) in &asked.annotations {
            object["metadata"]["annotations"][name] = json!(value);
        }
        made.push(patched(object, asked.patch.as_ref())?);
    }
    if let Some(asked) = provider.envoy_hpa.as_ref().filter(|_| provider.envoy_daemon_set.is_none()) {
        let spec = scaling::autoscaler(asked, &target);
        let object =
            maker.object("autoscaling/v2", "HorizontalPodAutoscaler", asked.name.as_deref(), json!({"spec": spec}));
        made.push(patched(object, asked.patch.as_ref())?);
    }
    if let Some(asked) = &provider.envoy_pdb {
        let spec = scaling::budget(asked, &selector);
        let object = maker.object("policy/v1", "PodDisruptionBudget", asked.name.as_deref(), json!({"spec": spec}));
        made.push(patched(object, asked.patch.as_ref())?);
    }
    Ok(made)
}

/// The Secret of a Gateway's Envoys, without what it holds.
pub(crate) fn identity_secret(gateway: &ObjectId, deployment: &Deployment) -> Value {
    let maker = Maker { gateway, deployment, name: names::of_gateway(gateway, &deployment.class) };
    maker.object("v1", "Secret", None, json!({"type": "kubernetes.io/tls"}))
}

/// Who an object is, and whose, is not a patch's to say: it would be lost to us.
fn patched(mut object: Value, asked: Option<&Patch>) -> Result<Value, String> {
    let Some(patch) = asked else { return Ok(object) };
    let metadata = object["metadata"].clone();
    patch.apply(&mut object);
    let Some(kept) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Err(format!("the patch of {} leaves no metadata", metadata["name"]));
    };
    for field in ["name", "namespace", "ownerReferences"] {
        if let Some(value) = metadata.get(field) {
            kept.insert(field.to_owned(), value.clone());
        }
    }
    let labels = kept.entry("labels").or_insert_with(|| json!({}));
    let Some(labels) = labels.as_object_mut() else {
        return Err(format!("the patch of {} leaves no labels", metadata["name"]));
    };
    for (label, value) in metadata["labels"].as_object().into_iter().flatten() {
        labels.insert(label.clone(), value.clone());
    }
    Ok(object)
}

struct Maker<'a> {
    gateway: &'a ObjectId,
    deployment: &'a Deployment,
    name: String,
}

impl Maker<'_> {
    /// What never changes in the life of a Gateway: a workload's selector cannot be edited.
    fn selector(&self) -> Value {
        json!({MANAGED_BY.0: MANAGED_BY.1, GATEWAY_NAME: names::label(&self.gateway.name)})
    }

    fn labels(&self) -> Value {
        let mut labels = json!(self.deployment.labels);
        labels["app.kubernetes.io/name"] = json!("envoy");
        labels[MANAGED_BY.0] = json!(MANAGED_BY.1);
        labels[GATEWAY_NAME] = json!(names::label(&self.gateway.name));
        labels[GATEWAY_CLASS_NAME] = json!(names::label(&self.deployment.class));
        labels
    }

    fn object(&self, version: &str, kind: &str, name: Option<&str>, content: Value) -> Value {
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": name.unwrap_or(&self.name),
                "namespace": self.gateway.namespace,
                "labels": self.labels(),
                "annotations": self.deployment.annotations,
            },
        });
        if let Some(uid) = &self.deployment.uid {
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": self.gateway.name,
                "uid": uid,
                "controller": true,
            }]);
        }
        if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
            object.extend(content);
        }
        object
    }
}

#[cfg(test)]
mod tests;
