//! kgateway's kinds of the releases that had AI backends.

mod backend;
mod parameters;
mod rate_limit_policy;

pub use backend::*;
pub use parameters::*;
pub use rate_limit_policy::*;

pub const GROUP: &str = "gateway.kgateway.dev";
