//! TLSRoute, TCPRoute and UDPRoute.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{BackendRef, ParentReference};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    #[serde(default)]
    pub hostnames: Vec<SmolStr>,
    pub rules: Vec<L4RouteRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRouteSpec {
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    pub rules: Vec<L4RouteRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UdpRouteSpec {
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    pub rules: Vec<L4RouteRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L4RouteRule {
    #[serde(default)]
    pub name: Option<SmolStr>,
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}
