//! Kubernetes' own kinds, as far as a gateway reads them.

mod config_map;
mod endpoint_slice;
mod namespace;
mod pod;
mod secret;
mod service;

pub use config_map::*;
pub use endpoint_slice::*;
pub use namespace::*;
pub use pod::*;
pub use secret::*;
pub use service::*;
