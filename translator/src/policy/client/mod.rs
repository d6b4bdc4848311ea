//! ClientTrafficPolicy: how clients are met.

use kinds::ObjectId;

use super::Problem;
use crate::engine::View;

pub(crate) fn problems(_: &ObjectId, _: &View<'_>) -> Vec<Problem> {
    Vec::new()
}
