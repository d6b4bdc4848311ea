//! Requests, decoded no further than the protocol needs.
//!
//! The node is a tenth of a megabyte that stock Envoy may repeat with every acknowledgement: it stays undecoded bytes. The
//! versions that a reconnecting Envoy has stay raw map entries until they are compared.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use xds_api::envoy::config::core::v3::Node;
use xds_api::google::rpc::Status;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SotwRequest {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub node: Option<Bytes>,
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
    #[prost(string, tag = "4")]
    pub type_url: String,
    #[prost(string, tag = "5")]
    pub nonce: String,
    #[prost(message, optional, tag = "6")]
    pub error: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaRequest {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub node: Option<Bytes>,
    #[prost(string, tag = "2")]
    pub type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub unsubscribe: Vec<String>,
    /// Entries of `initial_resource_versions`: a name and a version each.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub versions: Vec<Bytes>,
    #[prost(string, tag = "6")]
    pub nonce: String,
    #[prost(message, optional, tag = "7")]
    pub error: Option<Status>,
}

/// The name and version of a raw map entry, without copying them.
pub(crate) fn version_entry(entry: &Bytes) -> Option<(&str, &str)> {
    let mut rest: &[u8] = entry;
    let (mut name, mut version) = (&rest[..0], &rest[..0]);
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let content = rest.get(..length)?;
        rest = &rest[length..];
        match tag {
            1 => name = content,
            2 => version = content,
            _ => {}
        }
    }
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(version).ok()?))
}

/// Who is asking: the first message of a stream says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub id: String,
    pub cluster: String,
    pub version: String,
    pub locality: String,
}

impl Identity {
    pub(crate) fn decode(node: &Bytes) -> Option<Self> {
        let node = Node::decode(node.clone()).ok()?;
        let version = build_version(&node);
        let locality = node.locality.map(|l| [l.region, l.zone, l.sub_zone].join("/")).unwrap_or_default();
        Some(Self { id: node.id, cluster: node.cluster, version, locality })
    }
}

fn build_version(node: &Node) -> String {
    use xds_api::envoy::config::core::v3::node::UserAgentVersionType;
    match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            let version = build.version.unwrap_or_default();
            format!("{}.{}.{}", version.major_number, version.minor_number, version.patch)
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use xds_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;

    use super::*;

    #[test]
    fn a_full_request_reads_the_same() {
        let full = DeltaDiscoveryRequest {
            node: Some(Node { id: "n".into(), cluster: "default/web".into(), ..Node::default() }),
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into()],
            initial_resource_versions: [("a".to_owned(), "1".to_owned())].into(),
            response_nonce: "7".into(),
            ..Default::default()
        };
        let lean = DeltaRequest::decode(Bytes::from(full.encode_to_vec())).unwrap();
        assert_eq!(lean.subscribe, ["a"]);
        assert_eq!(lean.nonce, "7");
        assert_eq!(version_entry(&lean.versions[0]), Some(("a", "1")));
        assert_eq!(Identity::decode(&lean.node.unwrap()).unwrap().cluster, "default/web");
    }
}
