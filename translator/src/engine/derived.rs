//! Objects that other objects stand for, where nobody wrote them: what KServe would make of its services.
//!
//! An object that is written always stands before one that is derived.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::core::{IntOrString, Service, ServicePort, ServiceSpec};
use kinds::inference::{EndpointPickerRef, FailureMode, InferencePoolSpec};
use kinds::{Kind, Meta, Object, ObjectId, Reading, Spec};
use smol_str::SmolStr;

/// What an object stands for besides itself.
pub(super) fn of(object: &Object) -> Vec<Arc<Object>> {
    match object.id.kind {
        Kind::InferenceService => vec![predictor(object)],
        Kind::LlmInferenceService => {
            let mut made = vec![workload(object), pool(object)];
            made.sort_by(|a, b| a.id.cmp(&b.id));
            made
        }
        _ => Vec::new(),
    }
}

fn made(source: &Object, kind: Kind, name: &str, spec: Spec) -> Arc<Object> {
    Arc::new(Object {
        id: ObjectId::new(kind, source.id.namespace.clone(), name),
        version: SmolStr::new_static("v1"),
        meta: Meta { created: source.meta.created.clone(), ..Meta::default() },
        spec,
        reading: Reading::Newest,
        origin: source.origin.clone(),
    })
}

fn service(port: u16, target: i32, selector: BTreeMap<SmolStr, SmolStr>) -> Spec {
    let port = ServicePort {
        name: None,
        port,
        target_port: Some(IntOrString::Int(target)),
        protocol: None,
        app_protocol: None,
    };
    Spec::Service(Arc::new(Service { spec: ServiceSpec { selector, ports: vec![port], ..ServiceSpec::default() } }))
}

fn label(key: &str, value: impl Into<SmolStr>) -> (SmolStr, SmolStr) {
    (SmolStr::new(key), value.into())
}

fn predictor(source: &Object) -> Arc<Object> {
    let name = format!("{}-predictor", source.id.name);
    let selector = [label("app", format!("isvc.{name}"))].into();
    made(source, Kind::Service, &name, service(80, 8080, selector))
}

/// The labels of the pods that serve an LLMInferenceService.
fn workload_labels(source: &Object) -> BTreeMap<SmolStr, SmolStr> {
    [
        label("app.kubernetes.io/name", source.id.name.clone()),
        label("app.kubernetes.io/part-of", "llminferenceservice"),
        label("kserve.io/component", "workload"),
    ]
    .into()
}

fn workload(source: &Object) -> Arc<Object> {
    let name = format!("{}-kserve-workload-svc", source.id.name);
    made(source, Kind::Service, &name, service(8000, 8000, workload_labels(source)))
}

fn pool(source: &Object) -> Arc<Object> {
    let picker = EndpointPickerRef {
        group: SmolStr::default(),
        kind: SmolStr::new_static("Service"),
        name: format!("{}-epp-service", source.id.name).into(),
        port: Some(9002),
        failure_mode: FailureMode::FailOpen,
    };
    let spec = InferencePoolSpec {
        selector: workload_labels(source),
        target_ports: vec![8000],
        app_protocol: None,
        endpoint_picker: Some(picker),
    };
    let name = format!("{}-inference-pool", source.id.name);
    made(source, Kind::InferencePool, &name, Spec::InferencePool(Arc::new(spec)))
}

/// Who stands for what.
#[derive(Debug, Default)]
pub(super) struct Derived {
    made: BTreeMap<ObjectId, BTreeMap<ObjectId, Arc<Object>>>,
    of_source: BTreeMap<ObjectId, Vec<ObjectId>>,
}

impl Derived {
    /// Takes note of what an object stands for now, and says which objects that concerns.
    pub(super) fn note(&mut self, source: &ObjectId, objects: Vec<Arc<Object>>) -> Vec<ObjectId> {
        let now: Vec<ObjectId> = objects.iter().map(|object| object.id.clone()).collect();
        let before = if now.is_empty() {
            self.of_source.remove(source).unwrap_or_default()
        } else {
            self.of_source.insert(source.clone(), now.clone()).unwrap_or_default()
        };
        for id in before.iter().filter(|id| !now.contains(id)) {
            if let Some(sources) = self.made.get_mut(id) {
                sources.remove(source);
            }
        }
        for object in objects {
            self.made.entry(object.id.clone()).or_default().insert(source.clone(), object);
        }
        let mut concerned: Vec<ObjectId> = before.into_iter().chain(now).collect();
        concerned.sort();
        concerned.dedup();
        concerned
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.made.get(id)?.values().next()
    }
}
