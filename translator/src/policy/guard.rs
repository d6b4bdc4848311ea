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
use crate::names::{GuardId, GuardSort};
use crate::render::build::extension;
use crate::render::filters::guards;

/// An encoded chain of filters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GuardChain(pub Bytes);

/// What a chain checks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    ExtAuth(Box<ExtAuthz>),
    Keys(Keys),
    Login(Box<OAuth2>),
    Tokens(Box<JwtAuthentication>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub api_keys: Option<ApiKeys>,
    pub passwords: Option<Passwords>,
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

impl Check {
    pub(crate) fn id(&self) -> GuardId {
        match self {
            Self::ExtAuth(filter) => GuardId::of(GuardSort::ExtAuth, &filter.encode_to_vec()),
            Self::Login(filter) => GuardId::of(GuardSort::Login, &filter.encode_to_vec()),
            Self::Tokens(filter) => GuardId::of(GuardSort::Tokens, &filter.encode_to_vec()),
            Self::Keys(keys) => GuardId::of(GuardSort::Keys, &keys.identity()),
        }
    }
}

impl Keys {
    fn identity(&self) -> Vec<u8> {
        let mut identity = Vec::new();
        let mut part = |tag: u8, bytes: &[u8]| {
            identity.push(tag);
            identity.extend(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            identity.extend(bytes);
        };
        if let Some(keys) = &self.api_keys {
            for secret in &keys.secrets {
                part(0, secret.to_string().as_bytes());
            }
            for source in &keys.sources {
                part(1, &source.encode_to_vec());
            }
            part(2, &keys.forwarding.encode_to_vec());
        }
        if let Some(passwords) = &self.passwords {
            part(3, passwords.secret.to_string().as_bytes());
            part(4, passwords.header.as_bytes());
        }
        identity
    }
}

pub(crate) fn evaluate(gateway: &ObjectId, guard: GuardId, view: &View<'_>) -> Outcome {
    // Whoever asks for the chain says the same about it.
    let asked = view.demanders().into_iter().find_map(|unit| {
        let security = view.made_by::<Security>(unit)?;
        security.guards.iter().find(|(id, _)| *id == guard)
    });
    let Some((_, check)) = asked else { return Outcome::default() };
    let filters = match check {
        Check::ExtAuth(filter) => vec![extension("envoy.filters.http.ext_authz", any(filter.as_ref()))],
        Check::Login(filter) => vec![extension("envoy.filters.http.oauth2", any(filter.as_ref()))],
        Check::Tokens(filter) => vec![extension("envoy.filters.http.jwt_authn", any(filter.as_ref()))],
        Check::Keys(keys) => {
            let api_keys = keys
                .api_keys
                .iter()
                .map(|keys| extension("envoy.filters.http.api_key_auth", any(&api_key_auth(keys, view))));
            let passwords = keys
                .passwords
                .iter()
                .map(|passwords| extension("envoy.filters.http.basic_auth", any(&basic_auth(passwords, view))));
            api_keys.chain(passwords).collect()
        }
    };
    let chain = guards::chain(guard, filters).encode_to_vec();
    Outcome {
        product: Product::Guard(GuardChain(chain.into()).into()),
        demands: vec![UnitId::Guards(gateway.clone(), guard.sort)],
        diagnostics: Vec::new(),
    }
}

fn basic_auth(passwords: &Passwords, view: &View<'_>) -> BasicAuth {
    let users = view.spec::<Secret>(&passwords.secret).and_then(|secret| secret.get(USERS)).unwrap_or_default();
    BasicAuth {
        users: Some(DataSource { specifier: Some(Specifier::InlineBytes(users.to_vec())), ..DataSource::default() }),
        forward_username_header: passwords.header.to_string(),
        ..BasicAuth::default()
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
