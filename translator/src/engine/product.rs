//! What units make.

use std::sync::Arc;

use kinds::{Diagnostic, ObjectId};
use xds_api::Resource;

use super::unit::UnitId;
use crate::ai::{HostModels, Listing};
use crate::attach::{Parents, Plan, PlannedListener};
use crate::deployment::Deployment;
use crate::policy::{Effective, GuardChain, Overridden, Policies, Security, Targets, Traffic};
use crate::routing::AttachedRules;
use crate::status::Status;

/// The result of one run of a unit.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub product: Product,
    pub demands: Vec<UnitId>,
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Product {
    #[default]
    Nothing,
    Plan(Arc<Plan>),
    Listener(Arc<PlannedListener>),
    Deployment(Arc<Deployment>),
    Parents(Arc<Parents>),
    Count(usize),
    Attached(Arc<AttachedRules>),
    Targets(Arc<Targets>),
    Policies(Arc<Policies>),
    Effective(Arc<Effective>),
    Security(Arc<Security>),
    Traffic(Arc<Traffic>),
    Overridden(Arc<Overridden>),
    Guard(Arc<GuardChain>),
    HostModels(Arc<HostModels>),
    Listing(Arc<Listing>),
    Patches(Arc<Vec<ObjectId>>),
    Resource(Resource),
    Status(Arc<Status>),
}

/// A type that one variant of [`Product`] holds.
pub(crate) trait Made: Sized {
    fn of(product: &Product) -> Option<&Self>;
}

macro_rules! made {
    ($($variant:ident($ty:ty);)+) => {$(
        impl Made for $ty {
            fn of(product: &Product) -> Option<&Self> {
                match product { Product::$variant(made) => Some(made), _ => None }
            }
        }
    )+};
}

made! {
    Plan(Plan);
    Listener(PlannedListener);
    Deployment(Deployment);
    Parents(Parents);
    Count(usize);
    Attached(AttachedRules);
    Targets(Targets);
    Policies(Policies);
    Effective(Effective);
    Security(Security);
    Traffic(Traffic);
    Overridden(Overridden);
    Guard(GuardChain);
    HostModels(HostModels);
    Listing(Listing);
    Patches(Vec<ObjectId>);
    Resource(Resource);
    Status(Status);
}

impl From<Product> for Outcome {
    fn from(product: Product) -> Self {
        Self { product, ..Self::default() }
    }
}
