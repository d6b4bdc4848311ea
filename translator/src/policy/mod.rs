//! Envoy Gateway's policies: what they are about, which are in force where, and what they ask for.
//!
//! ```text
//! policy --Targets--> objects it is about --Policies--> a target's policies
//!        --Effective--> for each rule of a route at a listener: the chain in force, and whom it overrides
//!        --Security, Traffic--> what routes, filters and clusters are told, once for each chain
//! ```
//!
//! Precedence, most specific first: a rule of a route, the route, a listener of a ListenerSet, the ListenerSet, a
//! listener of the Gateway, the Gateway. The most specific policy stands alone, unless it asks to be merged: then it is
//! laid over the next one. Of two policies about the same thing the older is in force, and the other is in conflict.

pub(crate) mod client;
pub mod coverage;
pub(crate) mod effective;
pub(crate) mod extension;
pub(crate) mod external;
pub(crate) mod guard;
pub(crate) mod limits;
pub(crate) mod merge;
pub(crate) mod overridden;
pub(crate) mod policies;
pub(crate) mod problem;
pub(crate) mod proxy;
pub(crate) mod security;
pub(crate) mod status;
pub(crate) mod targets;
pub(crate) mod traffic;

pub(crate) use effective::Effective;
pub(crate) use guard::GuardChain;
pub(crate) use overridden::Overridden;
pub(crate) use policies::Policies;
pub(crate) use problem::Problem;
pub(crate) use security::Security;
pub(crate) use targets::Targets;
pub(crate) use traffic::Traffic;
