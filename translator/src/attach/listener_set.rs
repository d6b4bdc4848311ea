//! ListenerSets: whether a Gateway lets one add listeners to it.

use kinds::gateway::{GatewaySpec, NamespaceFrom};
use kinds::{Object, ObjectId};

use super::namespaces;
use crate::engine::View;

pub(crate) fn allowed(gateway: &Object, spec: &GatewaySpec, set: &ObjectId, view: &View<'_>) -> bool {
    // A Gateway takes no ListenerSets unless it says so.
    let Some(allowed) = spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref()) else {
        return false;
    };
    match allowed.from {
        NamespaceFrom::None => false,
        from => namespaces::allowed(from, allowed.selector.as_ref(), &gateway.id.namespace, &set.namespace, view),
    }
}
