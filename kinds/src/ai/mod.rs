//! Envoy AI Gateway's kinds. Older forms are brought to the newest one as they are read, so that nothing behind this
//! module knows of them.

mod backend;
mod gateway_config;
mod mutation;
mod quota;
mod route;
mod security;

pub use backend::*;
pub use gateway_config::*;
pub use mutation::*;
pub use quota::*;
pub use route::*;
pub use security::*;

/// The header that carries the model of a request.
pub const MODEL_HEADER: &str = "x-ai-eg-model";
/// The dynamic metadata in which a request's tokens are counted.
pub const COST_NAMESPACE: &str = "io.envoy.ai_gateway";
/// The annotation by which a Gateway names its GatewayConfig.
pub const GATEWAY_CONFIG_ANNOTATION: &str = "aigateway.envoyproxy.io/gateway-config";
