//! What a translation changes on the wire and in statuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::ObjectId;
use xds_api::{Resource, ResourceType};

use super::product::Product;
use super::unit::UnitId;
use crate::deployment::Deployment;
use crate::status::Status;

/// The effect of a set of changes.
#[derive(Debug, Default)]
pub struct Update {
    /// By Gateway: a group of Envoys gets one Gateway's resources.
    pub groups: BTreeMap<ObjectId, GroupChange>,
    /// The whole configuration of the rate limit service, where it changed. It is to be in force before what the groups get.
    pub limits: Option<Vec<Resource>>,
    /// Statuses that changed; none for objects that are gone.
    pub statuses: BTreeMap<ObjectId, Option<Arc<Status>>>,
    /// What runs each Gateway's Envoys, where that changed; none for Gateways that are gone or another's.
    pub deployments: BTreeMap<ObjectId, Option<Arc<Deployment>>>,
    pub diagnostics_changed: bool,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct GroupChange {
    pub set: Vec<Resource>,
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

/// Gathers the changes of one run. A resource may leave one unit and enter another in the same run: the last word on a
/// name is that it is there.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    groups: BTreeMap<ObjectId, GroupChange>,
    limits: Option<Vec<Resource>>,
    statuses: Vec<(ObjectId, Option<Arc<Status>>)>,
    deployments: BTreeMap<ObjectId, Option<Arc<Deployment>>>,
    diagnostics_changed: bool,
}

impl Collector {
    pub(crate) fn diagnostics_changed(&mut self) {
        self.diagnostics_changed = true;
    }

    /// A unit runs once in a run: it makes known one change at most.
    pub(crate) fn changed(&mut self, unit: &UnitId, before: &Product, after: &Product) {
        match (unit, after) {
            (UnitId::Status(id), Product::Status(status)) => self.statuses.push((id.clone(), Some(status.clone()))),
            (UnitId::Status(id), _) => self.statuses.push((id.clone(), None)),
            (UnitId::LimitDomain, Product::Resource(config)) => self.limits = Some(vec![config.clone()]),
            (UnitId::LimitDomain, _) => self.limits = Some(Vec::new()),
            (UnitId::Deployment(id), Product::Deployment(deployment)) => {
                self.deployments.insert(id.clone(), Some(deployment.clone()));
            }
            (UnitId::Deployment(id), _) => {
                self.deployments.insert(id.clone(), None);
            }
            _ => {}
        }
        let Some(gateway) = unit.gateway() else { return };
        let group = self.groups.entry(gateway.clone()).or_default();
        if let Product::Resource(old) = before {
            group.remove.push((old.kind, old.name.clone()));
        }
        if let Product::Resource(new) = after {
            group.set.push(new.clone());
        }
    }

    pub(crate) fn finish(mut self) -> Update {
        for group in self.groups.values_mut() {
            group.set.sort_unstable_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
            let GroupChange { set, remove } = group;
            remove.retain(|(kind, name)| {
                set.binary_search_by(|resource| (resource.kind, &resource.name).cmp(&(*kind, name))).is_err()
            });
            remove.sort_unstable();
            remove.dedup();
        }
        Update {
            groups: self.groups,
            limits: self.limits,
            statuses: self.statuses.into_iter().collect(),
            deployments: self.deployments,
            diagnostics_changed: self.diagnostics_changed,
        }
    }
}
