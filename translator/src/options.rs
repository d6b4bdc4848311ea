//! What a deployment decides about translation.

/// The name under which a GatewayClass is ours.
pub const CONTROLLER_NAME: &str = "chancery.dev/gateway-controller";

#[derive(Clone, Debug)]
pub struct Options {
    /// GatewayClasses of these controllers are ours. The first one signs statuses of classes that are absent.
    pub controllers: Vec<String>,
    /// The domain in which Services without EndpointSlices are looked up.
    pub cluster_domain: String,
    /// The file, where Envoy runs, with the roots that `wellKnownCACertificates: System` means.
    pub system_roots: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: vec![
                CONTROLLER_NAME.to_owned(),
                "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
                "kgateway.dev/kgateway".to_owned(),
            ],
            cluster_domain: "cluster.local".to_owned(),
            system_roots: "/etc/ssl/certs/ca-certificates.crt".to_owned(),
        }
    }
}
