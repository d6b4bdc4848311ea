//! The schemas in the binary, compiled when first asked for.

use std::sync::{Arc, LazyLock, OnceLock};

use kube_cel::{CompiledSchema, ValidationError, Validator, compile_schema};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::node::Node;
use super::{Violation, messages};
use crate::{FieldPath, Kind};

macro_rules! embedded {
    ($($file:literal)+) => { &[$(($file, include_str!(concat!("../../schemas/", $file, ".yaml")))),+] };
}

/// By the name of the definition: plural and group.
pub(crate) const EMBEDDED: &[(&str, &str)] = embedded! {
    "aigatewayroutes.aigateway.envoyproxy.io"
    "aiservicebackends.aigateway.envoyproxy.io"
    "backends.gateway.envoyproxy.io"
    "backends.gateway.kgateway.dev"
    "backendsecuritypolicies.aigateway.envoyproxy.io"
    "backendtlspolicies.gateway.networking.k8s.io"
    "backendtrafficpolicies.gateway.envoyproxy.io"
    "clienttrafficpolicies.gateway.envoyproxy.io"
    "envoyextensionpolicies.gateway.envoyproxy.io"
    "envoypatchpolicies.gateway.envoyproxy.io"
    "envoyproxies.gateway.envoyproxy.io"
    "gatewayclasses.gateway.networking.k8s.io"
    "gatewayconfigs.aigateway.envoyproxy.io"
    "gatewayparameters.gateway.kgateway.dev"
    "gateways.gateway.networking.k8s.io"
    "grpcroutes.gateway.networking.k8s.io"
    "httproutefilters.gateway.envoyproxy.io"
    "httproutes.gateway.networking.k8s.io"
    "inferenceobjectives.inference.networking.x-k8s.io"
    "inferenceobjectives.llm-d.ai"
    "inferencepools.inference.networking.k8s.io"
    "inferencepools.inference.networking.x-k8s.io"
    "listenersets.gateway.networking.k8s.io"
    "quotapolicies.aigateway.envoyproxy.io"
    "referencegrants.gateway.networking.k8s.io"
    "securitypolicies.gateway.envoyproxy.io"
    "tcproutes.gateway.networking.k8s.io"
    "tlsroutes.gateway.networking.k8s.io"
    "udproutes.gateway.networking.k8s.io"
};

/// The schema of one version of one kind.
pub(super) struct Schema {
    pub root: Node,
    name: String,
    version: String,
    /// What the library makes of the schema, which takes long and is seldom needed.
    rules: OnceLock<CompiledSchema>,
}

type Found = Option<Arc<Schema>>;

static COMPILED: LazyLock<Mutex<FxHashMap<String, Found>>> = LazyLock::new(Mutex::default);

thread_local! {
    static VALIDATOR: Validator = Validator::new();
}

pub(super) fn find(kind: Kind, group: &str, version: &str) -> Found {
    let key = format!("{}.{group}/{version}", kind.info().plural);
    if let Some(found) = COMPILED.lock().get(&key) {
        return found.clone();
    }
    let found = read(&format!("{}.{group}", kind.info().plural), version).map(Arc::new);
    COMPILED.lock().insert(key, found.clone());
    found
}

fn read(name: &str, version: &str) -> Option<Schema> {
    let schema = open_api(name, version)?;
    Some(Schema {
        root: Node::compile(&schema),
        name: name.to_owned(),
        version: version.to_owned(),
        rules: OnceLock::new(),
    })
}

/// The `openAPIV3Schema` of a version.
pub(super) fn open_api(name: &str, version: &str) -> Option<Value> {
    let (_, text) = EMBEDDED.iter().find(|(file, _)| *file == name)?;
    let mut definition: Value = serde_saphyr::from_str(text).ok()?;
    let versions = definition.pointer_mut("/spec/versions")?.as_array_mut()?;
    let served = versions.iter_mut().find(|candidate| candidate["name"] == version)?;
    served.pointer_mut("/schema/openAPIV3Schema").map(Value::take)
}

/// A rule that an object breaks, and what is said of it.
pub(super) struct BrokenRule {
    pub rule: String,
    pub violation: Violation,
}

impl Schema {
    pub(super) fn broken_rules(&self, object: &Value) -> Vec<BrokenRule> {
        if self.root.rules_hold(object) { Vec::new() } else { self.broken_by_library(object) }
    }

    /// The library's verdict, which copies the object at each level and takes tens of times as long.
    pub(super) fn broken_by_library(&self, object: &Value) -> Vec<BrokenRule> {
        let compile = || compile_schema(&open_api(&self.name, &self.version).unwrap_or_default());
        let rules = self.rules.get_or_init(compile);
        let result = VALIDATOR.with(|validator| validator.validate_compiled(rules, object, None));
        let Err(errors) = result else { return Vec::new() };
        let broken = |error: ValidationError| {
            let path = FieldPath::from(error.field_path.trim_start_matches('.').to_owned());
            let (message, help) = messages::of_rule(&error.rule);
            let violation = Violation { help, ..Violation::new("rule-broken", path, message) };
            BrokenRule { rule: error.rule, violation }
        };
        errors.into_vec().into_iter().map(broken).collect()
    }
}
