//! Envoy Gateway's kinds.

mod backend;
mod backend_traffic_policy;
mod client_traffic_policy;
mod envoy_extension_policy;
mod envoy_patch_policy;
mod envoy_proxy;
mod http_route_filter;
mod rate_limit;
mod security_policy;
pub mod shared;

pub use backend::*;
pub use backend_traffic_policy::*;
pub use client_traffic_policy::*;
pub use envoy_extension_policy::*;
pub use envoy_patch_policy::*;
pub use envoy_proxy::*;
pub use http_route_filter::*;
pub use rate_limit::*;
pub use security_policy::*;
