//! Where a policy gives way to another: gathered from the routes on which it does, and from no others.

use std::collections::BTreeSet;

use kinds::ObjectId;

use super::Effective;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::ListenerId;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overridden(pub BTreeSet<Given>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Given {
    pub listener: ListenerId,
    pub route: ObjectId,
    pub winner: ObjectId,
    pub merged: bool,
}

pub(crate) fn evaluate(loser: &ObjectId, view: &View<'_>) -> Outcome {
    let mut given = BTreeSet::new();
    for unit in view.demanders() {
        let UnitId::Effective(route, listener) = unit.id else { continue };
        let Some(effective) = view.made_by::<Effective>(unit) else { continue };
        for found in effective.overrides.iter().filter(|found| found.loser == *loser) {
            given.insert(Given {
                listener: listener.clone(),
                route: route.clone(),
                winner: found.winner.clone(),
                merged: found.merged,
            });
        }
    }
    Product::Overridden(Overridden(given).into()).into()
}
