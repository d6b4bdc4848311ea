//! Envoy Gateway's kinds.

mod backend;
mod http_route_filter;

pub use backend::*;
pub use http_route_filter::*;
