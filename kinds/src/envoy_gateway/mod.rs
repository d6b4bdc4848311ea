//! Envoy Gateway's kinds.

mod backend;
mod envoy_extension_policy;
mod envoy_patch_policy;
mod http_route_filter;

pub use backend::*;
pub use envoy_extension_policy::*;
pub use envoy_patch_policy::*;
pub use http_route_filter::*;
