//! The policies about an object, in the order in which they win.

use kinds::{Kind, ObjectId};
use smol_str::SmolStr;

use super::Targets;
use crate::engine::{Outcome, Product, UnitId, View};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policies(pub Vec<PlacedPolicy>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlacedPolicy {
    pub policy: ObjectId,
    pub section: Option<SmolStr>,
}

impl Policies {
    /// The oldest policy of a kind about the section, or about the object as a whole.
    pub(crate) fn winner(&self, kind: Kind, section: Option<&str>) -> Option<&ObjectId> {
        let mut placed = self.0.iter();
        placed.find(|p| p.policy.kind == kind && p.section.as_deref() == section).map(|placed| &placed.policy)
    }
}

pub(crate) fn evaluate(target: &ObjectId, view: &View<'_>) -> Outcome {
    let mut placed = Vec::new();
    for unit in view.demanders() {
        let UnitId::Targets(policy) = unit.id else { continue };
        let (Some(object), Some(targets)) = (view.object(policy), view.made_by::<Targets>(unit)) else { continue };
        for found in targets.0.iter().filter(|found| found.object == *target) {
            placed.push((object, PlacedPolicy { policy: policy.clone(), section: found.section.clone() }));
        }
    }
    placed.sort_by(|a, b| a.0.age_order().cmp(&b.0.age_order()));
    Product::Policies(Policies(placed.into_iter().map(|(_, placed)| placed).collect()).into()).into()
}
