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
    groups: BTreeMap<ObjectId, Pending>,
    limits: Option<Vec<Resource>>,
    statuses: BTreeMap<ObjectId, Option<Arc<Status>>>,
    deployments: BTreeMap<ObjectId, Option<Arc<Deployment>>>,
    diagnostics_changed: bool,
}

/// The last word on each name: a resource, or that it is gone.
type Pending = BTreeMap<(ResourceType, Arc<str>), Option<Resource>>;

impl Collector {
    pub(crate) fn diagnostics_changed(&mut self) {
        self.diagnostics_changed = true;
    }

    pub(crate) fn changed(&mut self, unit: &UnitId, before: &Product, after: &Product) {
        if let UnitId::Status(id) = unit {
            let status = if let Product::Status(status) = after { Some(status.clone()) } else { None };
            self.statuses.insert(id.clone(), status);
        }
        if *unit == UnitId::LimitDomain {
            let now = if let Product::Resource(config) = after { Some(config.clone()) } else { None };
            self.limits = Some(now.into_iter().collect());
        }
        if let UnitId::Deployment(id) = unit {
            let deployment = if let Product::Deployment(deployment) = after { Some(deployment.clone()) } else { None };
            self.deployments.insert(id.clone(), deployment);
        }
        let Some(gateway) = unit.gateway() else { return };
        let group = self.groups.entry(gateway.clone()).or_default();
        if let Product::Resource(old) = before {
            group.entry((old.kind, old.name.clone())).or_insert(None);
        }
        if let Product::Resource(new) = after {
            group.insert((new.kind, new.name.clone()), Some(new.clone()));
        }
    }

    pub(crate) fn finish(self) -> Update {
        let groups = self.groups.into_iter().map(|(gateway, resources)| {
            let mut change = GroupChange::default();
            for (key, resource) in resources {
                match resource {
                    Some(resource) => change.set.push(resource),
                    None => change.remove.push(key),
                }
            }
            (gateway, change)
        });
        Update {
            groups: groups.collect(),
            limits: self.limits,
            statuses: self.statuses,
            deployments: self.deployments,
            diagnostics_changed: self.diagnostics_changed,
        }
    }
}
