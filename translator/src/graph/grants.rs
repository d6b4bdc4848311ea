//! ReferenceGrants: which references into a namespace are permitted.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::gateway::ReferenceGrantSpec;
use kinds::{Kind, Object, ObjectId};

/// The grants, by object: a namespace's stand together.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<ObjectId, Arc<Object>>);

impl Grants {
    pub(super) fn put(&mut self, grant: &Arc<Object>) {
        self.0.insert(grant.id.clone(), grant.clone());
    }

    pub(super) fn remove(&mut self, id: &ObjectId) {
        self.0.remove(id);
    }

    pub(super) fn permit(&self, source: &ObjectId, target: &ObjectId) -> bool {
        let first = ObjectId::new(Kind::ReferenceGrant, target.namespace.clone(), "");
        let here = self.0.range(first..).take_while(|(id, _)| id.namespace == target.namespace);
        let mut specs = here.filter_map(|(_, object)| object.spec::<ReferenceGrantSpec>());
        specs.any(|spec| {
            let from = spec.from.iter().any(|from| {
                from.namespace == source.namespace
                    && speaks_for(source.kind)
                        .iter()
                        .chain([&source.kind])
                        .any(|kind| from.group == kind.group() && from.kind == kind.name())
            });
            from && spec.to.iter().any(|to| {
                to.group == target.kind.group()
                    && to.kind == target.kind.name()
                    && to.name.as_ref().is_none_or(|name| *name == target.name)
            })
        })
    }
}

/// The kinds whose grants hold for a kind besides its own. Envoy AI Gateway makes HTTPRoutes of its routes, so that its users grant what
/// those may refer to.
fn speaks_for(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::AiServiceBackend => &[Kind::AiGatewayRoute, Kind::HttpRoute],
        Kind::AiGatewayRoute => &[Kind::HttpRoute],
        _ => &[],
    }
}
