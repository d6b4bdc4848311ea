//! Which route of a host is tried first, exactly as Gateway API orders them.
//!
//! The derived order of [`Precedence`] is the table: its fields are compared from top to bottom.

use std::cmp::Reverse;

use kinds::Object;
use smol_str::SmolStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathRank {
    Exact,
    Regex,
    Prefix,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    pub path: PathRank,
    /// More characters first.
    pub path_length: Reverse<usize>,
    pub without_method: bool,
    pub headers: Reverse<usize>,
    pub query: Reverse<usize>,
    /// A dated object before an undated one, the older first.
    pub undated: bool,
    pub created: Option<SmolStr>,
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub rule: usize,
    pub matched: usize,
}

impl Precedence {
    /// The order of a match that says nothing but where it stands.
    pub(crate) fn of(route: &Object, rule: usize, matched: usize) -> Self {
        Self {
            path: PathRank::Prefix,
            path_length: Reverse(0),
            without_method: true,
            headers: Reverse(0),
            query: Reverse(0),
            undated: route.meta.created.is_none(),
            created: route.meta.created.clone(),
            namespace: route.id.namespace.clone(),
            name: route.id.name.clone(),
            rule,
            matched,
        }
    }
}
