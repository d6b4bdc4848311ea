//! A caller's own key for a server, brought in a header, in the place of the one that is configured.
//!
//! One filter of a cluster keeps what callers bring before every key is taken away, and one for each backend puts it in
//! after the configured one: so it reaches that backend in each attempt, and no other.

use std::collections::BTreeSet;

use kinds::ai::{BackendSecurityPolicySpec, CredentialType};
use xds_api::google::protobuf::{Any, Struct, Value, value};

use super::filters;
use super::pre_route::text;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnKey {
    /// In which a caller brings it.
    pub header: String,
    /// Whether a caller without one is served by the configured key.
    fallback: bool,
}

/// The headers of those who say none, by type of credential.
pub(super) const USUAL_HEADERS: [(CredentialType, &str); 3] = [
    (CredentialType::APIKey, "x-aigw-api-key"),
    (CredentialType::AnthropicAPIKey, "x-aigw-anthropic-api-key"),
    (CredentialType::AzureAPIKey, "x-aigw-azure-api-key"),
];

impl OwnKey {
    /// As a policy has it; none where callers bring no keys, or none that can be taken.
    pub(super) fn of(spec: &BackendSecurityPolicySpec) -> Option<Self> {
        let (_, usual) = USUAL_HEADERS.iter().find(|(kind, _)| *kind == spec.kind)?;
        let written = spec.credential_override.as_ref()?.from_request_headers.as_ref()?;
        let header = written.header.as_deref().filter(|header| !header.is_empty()).unwrap_or(usual);
        Some(Self { header: header.to_ascii_lowercase(), fallback: written.fallback_to_configured })
    }

    /// The filter that puts it into a header.
    pub(super) fn filter(&self, target: &str, prefix: &str) -> Any {
        let fields = [
            ("header", text(&self.header)),
            ("target", text(&target.to_ascii_lowercase())),
            ("prefix", text(prefix)),
            ("fallback", Value { kind: Some(value::Kind::BoolValue(self.fallback)) }),
        ];
        filters::own_key(Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() })
    }
}

/// The filter that keeps what callers bring in these headers.
pub(super) fn keep(headers: &BTreeSet<&str>) -> Any {
    let all: Vec<&str> = headers.iter().copied().collect();
    filters::keep_own_keys(Struct { fields: [("headers".to_owned(), text(&all.join(",")))].into() })
}
