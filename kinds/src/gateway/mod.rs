//! Gateway API: one file for each kind, and what they share in [`shared`].
//!
//! Defaults stand here, where the API states them, so that no reader repeats one.

mod backend_tls_policy;
mod gateway_class;
mod gateways;
mod grpc_route;
mod http_filters;
mod http_route;
mod l4_routes;
mod listener_set;
mod reference_grant;
mod shared;

pub use backend_tls_policy::*;
pub use gateway_class::*;
pub use gateways::*;
pub use grpc_route::*;
pub use http_filters::*;
pub use http_route::*;
pub use l4_routes::*;
pub use listener_set::*;
pub use reference_grant::*;
pub use shared::*;
