//! Where the limits of a policy join the orders of its routes.

use xds_api::google::protobuf::Any;

use super::Policy;
use crate::policy::Problem;

pub(super) fn add(policy: &Policy<'_>, _: &mut Vec<(&'static str, Any)>) -> Option<Problem> {
    let message = "requests are not counted here yet: the routes answer 500 and are not left without a limit";
    policy.spec.rate_limit.as_ref().map(|_| Problem::unsupported("spec.rateLimit", message))
}
