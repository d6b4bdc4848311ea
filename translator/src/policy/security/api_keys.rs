//! API keys: where a request carries one, which there are, and what the backend sees of it.

use kinds::FieldPath;
use kinds::envoy_gateway::ApiKeyAuth;
use xds_api::envoy::extensions::filters::http::api_key_auth::v3::{Forwarding, KeySource};

use super::{Policy, Security};
use crate::policy::Problem;
use crate::policy::guard::{self, ApiKeys};

pub(super) fn keys(policy: &Policy<'_>, written: &ApiKeyAuth, security: &mut Security) -> Result<ApiKeys, Problem> {
    let base = FieldPath::from("spec.apiKeyAuth");
    let mut secrets = Vec::new();
    for (index, reference) in written.credential_refs.iter().enumerate() {
        let path = base.field("credentialRefs").index(index);
        let secret = policy.object(&path, &reference.name)?;
        if guard::keys_of(secret, policy.view()).is_empty() {
            return Err(Problem::wrong(path, format!("{secret} holds no key")));
        }
        secrets.push(secret.clone());
    }
    if secrets.is_empty() {
        return Err(Problem::wrong(base.field("credentialRefs"), "no Secret with keys is named"));
    }
    let mut sources = Vec::new();
    for from in &written.extract_from {
        sources.extend(from.headers.iter().map(|name| KeySource { header: name.to_string(), ..KeySource::default() }));
        sources.extend(from.params.iter().map(|name| KeySource { query: name.to_string(), ..KeySource::default() }));
        sources.extend(from.cookies.iter().map(|name| KeySource { cookie: name.to_string(), ..KeySource::default() }));
    }
    if sources.is_empty() {
        return Err(Problem::wrong(base.field("extractFrom"), "no place is named where a request carries its key"));
    }
    if written.sanitize.is_none() {
        let headers = written.extract_from.iter().flat_map(|from| &from.headers);
        security.key_headers.extend(headers.map(|name| name.to_ascii_lowercase()));
    }
    let forwarding = Forwarding {
        header: written.forward_client_id_header.as_ref().map(ToString::to_string).unwrap_or_default(),
        hide_credentials: written.sanitize.unwrap_or(false),
    };
    Ok(ApiKeys { secrets, sources, forwarding })
}
