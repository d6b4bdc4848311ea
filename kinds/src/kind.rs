//! The table of kinds: their names, groups, served versions and scope.
//!
//! A kind that users write is added here once; every other place asks this table.

use std::fmt;

/// What the table says of one kind.
#[derive(Debug)]
pub struct KindInfo {
    pub kind: Kind,
    pub name: &'static str,
    pub group: &'static str,
    /// The versions that are read, newest first.
    pub versions: &'static [&'static str],
    pub plural: &'static str,
    pub namespaced: bool,
}

macro_rules! kinds {
    ($($variant:ident $name:literal $plural:literal $group:literal [$($version:literal),+] $scope:ident;)+) => {
        /// A kind of object that Chancery reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($variant),+ }

        impl Kind {
            pub const TABLE: &'static [KindInfo] = &[$(KindInfo {
                kind: Kind::$variant,
                name: $name,
                group: $group,
                versions: &[$($version),+],
                plural: $plural,
                namespaced: kinds!(@scope $scope),
            }),+];
        }
    };
    (@scope namespaced) => { true };
    (@scope cluster) => { false };
}

kinds! {
    GatewayClass "GatewayClass" "gatewayclasses" "gateway.networking.k8s.io" ["v1", "v1beta1"] cluster;
    Gateway "Gateway" "gateways" "gateway.networking.k8s.io" ["v1", "v1beta1"] namespaced;
    ListenerSet "ListenerSet" "listenersets" "gateway.networking.k8s.io" ["v1"] namespaced;
    HttpRoute "HTTPRoute" "httproutes" "gateway.networking.k8s.io" ["v1", "v1beta1"] namespaced;
    GrpcRoute "GRPCRoute" "grpcroutes" "gateway.networking.k8s.io" ["v1", "v1alpha2"] namespaced;
    TlsRoute "TLSRoute" "tlsroutes" "gateway.networking.k8s.io" ["v1", "v1alpha3", "v1alpha2"] namespaced;
    TcpRoute "TCPRoute" "tcproutes" "gateway.networking.k8s.io" ["v1", "v1alpha2"] namespaced;
    UdpRoute "UDPRoute" "udproutes" "gateway.networking.k8s.io" ["v1", "v1alpha2"] namespaced;
    ReferenceGrant "ReferenceGrant" "referencegrants" "gateway.networking.k8s.io" ["v1", "v1beta1"] namespaced;
    BackendTlsPolicy "BackendTLSPolicy" "backendtlspolicies" "gateway.networking.k8s.io" ["v1", "v1alpha3"] namespaced;
    Service "Service" "services" "" ["v1"] namespaced;
    EndpointSlice "EndpointSlice" "endpointslices" "discovery.k8s.io" ["v1"] namespaced;
    Secret "Secret" "secrets" "" ["v1"] namespaced;
    ConfigMap "ConfigMap" "configmaps" "" ["v1"] namespaced;
    Namespace "Namespace" "namespaces" "" ["v1"] cluster;
    Pod "Pod" "pods" "" ["v1"] namespaced;
    Backend "Backend" "backends" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    HttpRouteFilter "HTTPRouteFilter" "httproutefilters" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    EnvoyPatchPolicy "EnvoyPatchPolicy" "envoypatchpolicies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    EnvoyExtensionPolicy "EnvoyExtensionPolicy" "envoyextensionpolicies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    AiGatewayRoute "AIGatewayRoute" "aigatewayroutes" "aigateway.envoyproxy.io" ["v1beta1", "v1alpha1"] namespaced;
    AiServiceBackend "AIServiceBackend" "aiservicebackends" "aigateway.envoyproxy.io" ["v1beta1", "v1alpha1"] namespaced;
    BackendSecurityPolicy "BackendSecurityPolicy" "backendsecuritypolicies" "aigateway.envoyproxy.io" ["v1beta1", "v1alpha1"] namespaced;
    GatewayConfig "GatewayConfig" "gatewayconfigs" "aigateway.envoyproxy.io" ["v1beta1", "v1alpha1"] namespaced;
    QuotaPolicy "QuotaPolicy" "quotapolicies" "aigateway.envoyproxy.io" ["v1alpha1"] namespaced;
    InferencePool "InferencePool" "inferencepools" "inference.networking.k8s.io" ["v1", "v1alpha2"] namespaced;
    InferenceObjective "InferenceObjective" "inferenceobjectives" "inference.networking.x-k8s.io" ["v1alpha2"] namespaced;
    InferenceService "InferenceService" "inferenceservices" "serving.kserve.io" ["v1beta1"] namespaced;
    LlmInferenceService "LLMInferenceService" "llminferenceservices" "serving.kserve.io" ["v1alpha2", "v1alpha1"] namespaced;
    KgatewayBackend "Backend" "backends" "gateway.kgateway.dev" ["v1alpha1"] namespaced;
    GatewayParameters "GatewayParameters" "gatewayparameters" "gateway.kgateway.dev" ["v1alpha1"] namespaced;
    RateLimitPolicy "RateLimitPolicy" "ratelimitpolicies" "gateway.kgateway.dev" ["v1alpha1"] namespaced;
    SecurityPolicy "SecurityPolicy" "securitypolicies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    BackendTrafficPolicy "BackendTrafficPolicy" "backendtrafficpolicies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    ClientTrafficPolicy "ClientTrafficPolicy" "clienttrafficpolicies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
    EnvoyProxy "EnvoyProxy" "envoyproxies" "gateway.envoyproxy.io" ["v1alpha1"] namespaced;
}

/// Groups under which a kind was or is known besides its own.
const FORMER_GROUPS: [(&str, Kind); 2] =
    [("inference.networking.x-k8s.io", Kind::InferencePool), ("llm-d.ai", Kind::InferenceObjective)];

impl Kind {
    #[must_use]
    pub fn lookup(group: &str, name: &str) -> Option<Self> {
        let renamed = FORMER_GROUPS.iter().find(|(former, kind)| *former == group && kind.name() == name);
        if let Some((_, kind)) = renamed {
            return Some(*kind);
        }
        // Names tell more kinds apart than groups do.
        Self::TABLE.iter().find(|info| info.name == name && info.group == group).map(|info| info.kind)
    }

    /// The other groups under which the kind may be served.
    pub fn former_groups(self) -> impl Iterator<Item = &'static str> {
        FORMER_GROUPS.into_iter().filter(move |(_, kind)| *kind == self).map(|(group, _)| group)
    }

    /// The table is written in the order of the variants; a test holds that.
    #[must_use]
    pub fn info(self) -> &'static KindInfo {
        &Self::TABLE[self as usize]
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    #[must_use]
    pub fn group(self) -> &'static str {
        self.info().group
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn table_is_in_the_order_of_the_variants() {
        for info in Kind::TABLE {
            assert_eq!(info.kind.info().name, info.name);
        }
    }
}
