//! What a deployment decides about translation.

use crate::AddressRange;

/// The name under which a GatewayClass is ours.
pub const CONTROLLER_NAME: &str = "chancery.dev/gateway-controller";

/// Where Debian and its kin, and Envoy's own images, keep the roots of the machine.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Clone, Debug)]
pub struct Options {
    /// GatewayClasses of these controllers are ours. The first one signs statuses of classes that are absent.
    pub controllers: Vec<String>,
    /// Gateways whose class is not among the objects are ours. So it is in files, which seldom hold classes; where several
    /// controllers share an API server, such a Gateway may be anybody's.
    pub take_unclassed: bool,
    /// The domain in which Services without EndpointSlices are looked up.
    pub cluster_domain: String,
    /// The file, where Envoy runs, with the roots that `wellKnownCACertificates: System` means.
    pub system_roots: String,
    /// How pickers of pools take bodies, unless a pool says otherwise.
    pub picker_bodies: PickerBodies,
    /// The addresses that Gateways may ask for; any, where there are none.
    pub gateway_addresses: Vec<AddressRange>,
    /// Who counts what limits are about.
    pub limits: LimitService,
}

/// How an endpoint picker takes the bodies of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PickerBodies {
    /// As they come, both ways: what pickers speak.
    #[default]
    Streamed,
    /// Each in one piece, for pickers that say nothing before they have seen all of it.
    Whole,
}

impl std::str::FromStr for PickerBodies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "streamed" => Ok(Self::Streamed),
            "whole" => Ok(Self::Whole),
            other => Err(format!("`{other}` is neither `streamed` nor `whole`")),
        }
    }
}

/// The rate limit service, as Envoys reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitService {
    /// The one that comes with this control plane: it can hold room for a cost that is not known yet.
    Embedded(Address),
    /// `envoyproxy/ratelimit`, fed over xDS.
    Stock(Address),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: vec![
                CONTROLLER_NAME.to_owned(),
                "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
                "kgateway.dev/kgateway".to_owned(),
            ],
            take_unclassed: true,
            cluster_domain: "cluster.local".to_owned(),
            system_roots: SYSTEM_ROOTS.to_owned(),
            picker_bodies: PickerBodies::Streamed,
            gateway_addresses: Vec::new(),
            limits: LimitService::Embedded(Address { host: "127.0.0.1".to_owned(), port: 18081 }),
        }
    }
}
