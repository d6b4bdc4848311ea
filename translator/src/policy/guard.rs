//! Credentials and the filters that check them: a chain that any number of routes share.

use std::collections::BTreeMap;

use bytes::Bytes;
use kinds::ObjectId;
use kinds::core::Secret;
use prost::Message;
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use xds_api::envoy::extensions::filters::http::api_key_auth::v3::{ApiKeyAuth, Credential, Forwarding, KeySource};
use xds_api::envoy::extensions::filters::http::basic_auth::v3::BasicAuth;
use xds_api::envoy::extensions::filters::http::ext_authz::v3::ExtAuthz;
use xds_api::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use xds_api::envoy::extensions::filters::http::oauth2::v3::OAuth2;

use super::Security;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::GuardId;
use crate::render::build::extension;
use crate::render::filters::guards;

/// An encoded chain of filters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GuardChain(pub Bytes);

/// What a chain checks, in the order in which it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Credentials {
    pub ext_auth: Option<ExtAuthz>,
    pub api_keys: Option<ApiKeys>,
    pub basic: Option<Passwords>,
    pub oauth2: Option<OAuth2>,
    pub jwt: Option<JwtAuthentication>,
}

/// Keys stay in their Secrets until the chain is made: the identity of the chain does not depend on them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiKeys {
    pub secrets: Vec<ObjectId>,
    pub sources: Vec<KeySource>,
    pub forwarding: Forwarding,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Passwords {
    pub secret: ObjectId,
    pub header: SmolStr,
}

pub(crate) const USERS: &str = ".htpasswd";

impl Credentials {
    /// None where nothing is to be checked.
    pub(crate) fn id(&self) -> Option<GuardId> {
        if *self == Self::default() {
            return None;
        }
        let mut identity = Vec::new();
        let mut part = |tag: u8, bytes: &[u8]| {
            identity.push(tag);
            identity.extend(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            identity.extend(bytes);
        };
        if let Some(filter) = &self.ext_auth {
            part(1, &filter.encode_to_vec());
        }
        if let Some(keys) = &self.api_keys {
            for secret in &keys.secrets {
                part(2, secret.to_string().as_bytes());
            }
            for source in &keys.sources {
                part(3, &source.encode_to_vec());
            }
            part(4, &keys.forwarding.encode_to_vec());
        }
        if let Some(passwords) = &self.basic {
            part(5, passwords.secret.to_string().as_bytes());
            part(6, passwords.header.as_bytes());
        }
        if let Some(filter) = &self.oauth2 {
            part(7, &filter.encode_to_vec());
        }
        if let Some(filter) = &self.jwt {
            part(8, &filter.encode_to_vec());
        }
        Some(GuardId::of(&identity))
    }
}

pub(crate) fn evaluate(gateway: &ObjectId, guard: GuardId, view: &View<'_>) -> Outcome {
    // Whoever asks for the chain says the same about it.
    let asked = view.demanders().into_iter().find_map(|unit| {
        let security = view.made::<Security>(unit.clone())?;
        security.guard.as_ref().filter(|(id, _)| *id == guard)
    });
    let Some((_, credentials)) = asked else { return Outcome::default() };
    let mut filters = Vec::new();
    if let Some(filter) = &credentials.ext_auth {
        filters.push(extension("envoy.filters.http.ext_authz", any(filter)));
    }
    if let Some(keys) = &credentials.api_keys {
        filters.push(extension("envoy.filters.http.api_key_auth", any(&api_key_auth(keys, view))));
    }
    if let Some(passwords) = &credentials.basic {
        let users = view.spec::<Secret>(&passwords.secret).and_then(|secret| secret.get(USERS)).unwrap_or_default();
        let basic = BasicAuth {
            users: Some(DataSource {
                specifier: Some(Specifier::InlineBytes(users.to_vec())),
                ..DataSource::default()
            }),
            forward_username_header: passwords.header.to_string(),
            ..BasicAuth::default()
        };
        filters.push(extension("envoy.filters.http.basic_auth", any(&basic)));
    }
    if let Some(filter) = &credentials.oauth2 {
        filters.push(extension("envoy.filters.http.oauth2", any(filter)));
    }
    if let Some(filter) = &credentials.jwt {
        filters.push(extension("envoy.filters.http.jwt_authn", any(filter)));
    }
    let chain = guards::chain(guard, filters).encode_to_vec();
    Outcome {
        product: Product::Guard(GuardChain(chain.into()).into()),
        demands: vec![UnitId::Guards(gateway.clone(), guard.filter())],
        diagnostics: Vec::new(),
    }
}

fn api_key_auth(keys: &ApiKeys, view: &View<'_>) -> ApiKeyAuth {
    // Envoy refuses a key that occurs twice: the first client that has it keeps it.
    let mut clients: BTreeMap<String, String> = BTreeMap::new();
    for secret in &keys.secrets {
        for (client, key) in keys_of(secret, view) {
            clients.entry(key).or_insert(client);
        }
    }
    ApiKeyAuth {
        credentials: clients.into_iter().map(|(key, client)| Credential { key, client }).collect(),
        key_sources: keys.sources.clone(),
        forwarding: Some(keys.forwarding.clone()),
    }
}

/// The clients of a Secret and their keys: a client's name is the name of its entry.
pub(crate) fn keys_of(secret: &ObjectId, view: &View<'_>) -> Vec<(String, String)> {
    let Some(content) = view.spec::<Secret>(secret) else { return Vec::new() };
    let pair = |client: &SmolStr| {
        let key = String::from_utf8(content.get(client)?.to_vec()).ok()?;
        let key = key.trim_end_matches(['\n', '\r']);
        (!key.is_empty()).then(|| (client.to_string(), key.to_owned()))
    };
    content.keys().into_iter().filter_map(pair).collect()
}
