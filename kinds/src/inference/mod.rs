//! Pools of inference servers: Gateway API's inference extension, and KServe.

mod kserve;
mod objective;
mod pool;

pub use kserve::*;
pub use objective::*;
pub use pool::*;

pub const GROUP: &str = "inference.networking.k8s.io";
/// The group of the versions before the first stable one.
pub const OLDER_GROUP: &str = "inference.networking.x-k8s.io";
