//! Fields that the official schemas have and that nothing here reads. Who uses one is told so by its name: what was written
//! is not in force.
//!
//! The fields of Envoy Gateway's policies have a table of their own in the translator, which knows what becomes of each.

use serde_json::Value;

use crate::{Diagnostic, FieldPath, Kind, ObjectId, Origin, Place};

/// By kind: the field, below `spec` and without indices, and why it is not read.
pub const UNREAD: &[(Kind, &str, &str)] = &[
    (Kind::Gateway, "defaultScope", DEFAULT_GATEWAYS),
    (Kind::HttpRoute, "useDefaultGateways", DEFAULT_GATEWAYS),
    (Kind::GrpcRoute, "useDefaultGateways", DEFAULT_GATEWAYS),
    (Kind::TlsRoute, "useDefaultGateways", DEFAULT_GATEWAYS),
    (Kind::TcpRoute, "useDefaultGateways", DEFAULT_GATEWAYS),
    (Kind::UdpRoute, "useDefaultGateways", DEFAULT_GATEWAYS),
    (Kind::EnvoyExtensionPolicy, "dynamicModule", "no module is loaded into the proxies"),
    (Kind::EnvoyExtensionPolicy, "extProc.backendRef", "write it as the first of backendRefs"),
    (Kind::EnvoyExtensionPolicy, "extProc.backendRefs.fallback", "a processor has no fallback"),
    (Kind::EnvoyExtensionPolicy, "extProc.backendSettings", "how the processor is reached cannot be chosen"),
    (Kind::EnvoyExtensionPolicy, "lua.filterContext", "scripts are given nothing but the request"),
    (Kind::EnvoyExtensionPolicy, "mergeType", "the policies of a target are put one behind the other"),
    (Kind::EnvoyExtensionPolicy, "targetRef.sectionName", "it is in force for the whole target"),
    (Kind::EnvoyExtensionPolicy, "targetRefs.sectionName", "it is in force for the whole target"),
    (Kind::EnvoyExtensionPolicy, "targetSelectors", "name its targets in targetRefs"),
    (Kind::BackendSecurityPolicy, "awsCredentials.oidcExchangeToken.aud", EXCHANGE),
    (Kind::BackendSecurityPolicy, "awsCredentials.oidcExchangeToken.grantType", EXCHANGE),
];

const DEFAULT_GATEWAYS: &str = "there are no default Gateways: name them in parentRefs";
const EXCHANGE: &str = "tokens are not exchanged: give the credentials in a file";

pub(crate) fn remarks(id: &ObjectId, value: &Value, origin: &Origin) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(spec) = value.get("spec") else { return found };
    for (_, path, why) in UNREAD.iter().filter(|(kind, _, _)| *kind == id.kind) {
        let steps: Vec<&str> = path.split('.').collect();
        used(spec, &steps, &FieldPath::spec(), &mut |at| {
            let place = Place { origin: origin.clone(), path: at };
            let message = format!("{path} is not read here, and what it asks for is not in force");
            found.push(Diagnostic::error("field-not-read", place, message).about(id).help(*why));
        });
    }
    found
}

/// Calls back for each place at which a field stands, whatever lists are between.
fn used(value: &Value, steps: &[&str], at: &FieldPath, found: &mut impl FnMut(FieldPath)) {
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            used(item, steps, &at.index(index), found);
        }
        return;
    }
    match steps {
        [] if !value.is_null() => found(at.clone()),
        [] => {}
        [first, rest @ ..] => {
            if let Some(inner) = value.get(*first) {
                used(inner, rest, &at.field(first), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Parsed, Severity, parse_text};

    #[test]
    fn who_uses_a_field_that_is_not_read_is_told_where() {
        let text = "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]
  extProc:
  - backendRefs: [{name: a, port: 1}]
  - backendRefs: [{name: b, port: 1}]
    backendSettings: {timeout: {tcp: {connectTimeout: 1s}}}
";
        let Some(Parsed::Object(_, remarks)) = parse_text("p.yaml", text).into_iter().next() else { panic!("refused") };
        let [remark] = &remarks[..] else { panic!("{remarks:?}") };
        assert_eq!((remark.code, remark.severity), ("field-not-read", Severity::Error));
        assert_eq!(remark.place.path.as_str(), "spec.extProc[1].backendSettings");
    }
}
