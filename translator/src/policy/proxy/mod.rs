//! EnvoyProxy: how the proxies of a Gateway run.

use kinds::envoy_gateway::EnvoyProxySpec;
use kinds::envoy_gateway::shared::ClusterSettings;

/// The settings of a service that the proxies call.
pub(crate) fn backend_settings(_: &EnvoyProxySpec, _: &str) -> Option<ClusterSettings> {
    None
}
