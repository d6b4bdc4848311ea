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

#[derive(Clone, Debug, Default)]
pub(crate) struct DeltaRequest {
    pub node: Option<Bytes>,
    pub type_url: String,
    pub subscribe: Names,
    pub unsubscribe: Vec<String>,
    pub versions: Versions,
    pub nonce: String,
    pub error: Option<Status>,
}

/// All of it but the names and versions of which a reconnecting client has thousands.
#[derive(Clone, PartialEq, Message)]
struct LeanDelta {
    #[prost(bytes = "bytes", optional, tag = "1")]
    node: Option<Bytes>,
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(string, repeated, tag = "4")]
    unsubscribe: Vec<String>,
    #[prost(string, tag = "6")]
    nonce: String,
    #[prost(message, optional, tag = "7")]
    error: Option<Status>,
}

impl DeltaRequest {
    pub(crate) fn decode(message: Bytes) -> Result<Self, prost::DecodeError> {
        let LeanDelta { node, type_url, unsubscribe, nonce, error } = LeanDelta::decode(message.clone())?;
        let subscribe = Names(message.clone());
        Ok(Self { node, type_url, subscribe, unsubscribe, versions: Versions(message), nonce, error })
    }
}

/// The entries of `resource_names_subscribe`, where they stand: in a whole request. What is no text is no name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Bytes);

const SUBSCRIBE: u32 = 3;

impl Names {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.bytes().filter_map(|name| std::str::from_utf8(name).ok())
    }

    pub(crate) fn bytes(&self) -> impl Iterator<Item = &[u8]> + Clone {
        Fields(&self.0).filter(|(number, _)| *number == SUBSCRIBE).map(|(_, name)| name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().next().is_none()
    }
}

#[cfg(test)]
impl From<Vec<String>> for Names {
    fn from(resource_names_subscribe: Vec<String>) -> Self {
        use xds_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
        let request = DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() };
        Self(Bytes::from(request.encode_to_vec()))
    }
}

/// The entries of `initial_resource_versions`, where they stand: in a whole request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(Bytes);

const VERSIONS: u32 = 5;

impl Versions {
    /// Each name with its version, as far as the bytes are in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = |(name, version)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(version).ok()?));
        self.bytes().filter_map(texts)
    }

    pub(crate) fn bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Fields(&self.0).filter(|(number, _)| *number == VERSIONS).map(|(_, entry)| version_entry(entry))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().next().is_none()
    }
}

#[cfg(test)]
impl From<Vec<(String, String)>> for Versions {
    fn from(entries: Vec<(String, String)>) -> Self {
        use xds_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
        let initial_resource_versions = entries.into_iter().collect();
        let request = DeltaDiscoveryRequest { initial_resource_versions, ..Default::default() };
        Self(Bytes::from(request.encode_to_vec()))
    }
}

/// The fields that are texts or messages, with their numbers.
#[derive(Clone)]
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &mut self.0;
        // Nearly always: a small number, and less than 128 bytes.
        if let [tag @ 0..=127, length @ 0..=127, after @ ..] = *rest
            && tag & 7 == WireType::LengthDelimited as u8
            && let Some((content, after)) = after.split_at_checked(usize::from(*length))
        {
            *rest = after;
            return Some((u32::from(tag >> 3), content));
        }
        while rest.has_remaining() {
            let (tag, wire_type) = decode_key(rest).ok()?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, rest, DecodeContext::default()).ok()?;
                continue;
            }
            let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            return Some((tag, content));
        }
        None
    }
}

/// The name and version of a map entry.
fn version_entry(entry: &[u8]) -> (&[u8], &[u8]) {
    let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
    for (tag, content) in Fields(entry) {
        match tag {
            1 => name = content,
            2 => version = content,
            _ => {}
        }
    }
    (name, version)
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
        assert_eq!(lean.subscribe.iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(lean.nonce, "7");
        assert_eq!(lean.versions.iter().collect::<Vec<_>>(), [("a", "1")]);
        assert_eq!(Identity::decode(&lean.node.unwrap()).unwrap().cluster, "default/web");
    }
}
