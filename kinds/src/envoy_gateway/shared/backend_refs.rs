//! Services that Envoy itself calls: for keys, permissions, logs and traces.

use smol_str::SmolStr;

use super::{ClusterSettings, records};

records! {
    /// Where a service of the proxy's own is reached.
    ExtensionBackends {
        /// The older form of a list of one.
        backend_ref: Option<ExtensionBackendRef>,
        backend_refs: Vec<ExtensionBackendRef>,
        backend_settings: Option<ClusterSettings>,
    }

    ExtensionBackendRef {
        group: Option<SmolStr>,
        kind: Option<SmolStr>,
        name: SmolStr,
        namespace: Option<SmolStr>,
        port: Option<u16>,
        weight: Option<u32>,
        fallback: Option<bool>,
    }

    SecretRef {
        group: Option<SmolStr>,
        kind: Option<SmolStr>,
        name: SmolStr,
        namespace: Option<SmolStr>,
    }

    /// A value in an object of the policy's own namespace.
    ValueRef {
        group: SmolStr,
        kind: SmolStr,
        name: SmolStr,
        key: Option<SmolStr>,
    }
}

impl ExtensionBackends {
    /// The references in whichever form, each with the field that makes it.
    pub fn written(&self) -> impl Iterator<Item = (String, &ExtensionBackendRef)> {
        let one = self.backend_ref.iter().map(|r| ("backendRef".to_owned(), r));
        one.chain(self.backend_refs.iter().enumerate().map(|(index, r)| (format!("backendRefs[{index}]"), r)))
    }
}
