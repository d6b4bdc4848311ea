//! Signed tokens.

use kinds::FieldPath;
use kinds::core::{ConfigMap, Secret};
use kinds::envoy_gateway::{Jwt, JwtProvider, LocalJwks, RemoteJwks};
use xds_api::envoy::config::core::v3::HttpUri;
use xds_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use xds_api::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use xds_api::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use xds_api::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use xds_api::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use xds_api::envoy::extensions::filters::http::jwt_authn::v3::{
    JwksAsyncFetch, JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider as EnvoyProvider, JwtRequirement,
    JwtRequirementOrList, RemoteJwks as EnvoyRemoteJwks, RequirementRule,
};

use super::{Policy, Security};
use crate::policy::Problem;
use crate::policy::extension::{Address, Upstream};
use crate::render::build::{duration, seconds, text};

const CACHE_SECONDS: i64 = 300;
const FETCH_SECONDS: i64 = 10;

pub(super) fn filter(
    policy: &Policy<'_>,
    written: &Jwt,
    security: &mut Security,
) -> Result<JwtAuthentication, Problem> {
    let base = FieldPath::from("spec.jwt.providers");
    let mut filter = JwtAuthentication::default();
    let mut any_of = Vec::new();
    for (index, provider) in written.providers.iter().enumerate() {
        let path = base.index(index);
        let made = self::provider(policy, provider, &path, security)?;
        if filter.providers.insert(provider.name.to_string(), made).is_some() {
            return Err(Problem::wrong(path.field("name"), format!("{} stands there twice", provider.name)));
        }
        any_of.push(RequiresType::ProviderName(provider.name.to_string()));
    }
    if written.fail_open == Some(true) {
        any_of.push(RequiresType::AllowMissingOrFailed(xds_api::google::protobuf::Empty {}));
    } else if written.optional == Some(true) {
        any_of.push(RequiresType::AllowMissing(xds_api::google::protobuf::Empty {}));
    }
    let mut requirements: Vec<_> =
        any_of.into_iter().map(|requires| JwtRequirement { requires_type: Some(requires) }).collect();
    let requirement = match requirements.len() {
        1 => requirements.pop(),
        _ => Some(JwtRequirement {
            requires_type: Some(RequiresType::RequiresAny(JwtRequirementOrList { requirements })),
        }),
    };
    filter.rules = vec![RequirementRule {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        requirement_type: requirement.map(RequirementType::Requires),
    }];
    Ok(filter)
}

fn provider(
    policy: &Policy<'_>,
    written: &JwtProvider,
    path: &FieldPath,
    security: &mut Security,
) -> Result<EnvoyProvider, Problem> {
    let source = match (&written.remote_jwks, &written.local_jwks) {
        (Some(remote), _) => JwksSourceSpecifier::RemoteJwks(self::remote(
            policy,
            remote,
            &written.name,
            &path.field("remoteJWKS"),
            security,
        )?),
        (None, Some(local)) => {
            JwksSourceSpecifier::LocalJwks(text(self::local(policy, local, &path.field("localJWKS"))?))
        }
        (None, None) => {
            return Err(Problem::wrong(path.clone(), "neither remoteJWKS nor localJWKS says where the keys are"));
        }
    };
    let from = written.extract_from.clone().unwrap_or_default();
    Ok(EnvoyProvider {
        issuer: written.issuer.as_ref().map(ToString::to_string).unwrap_or_default(),
        audiences: written.audiences.iter().map(ToString::to_string).collect(),
        jwks_source_specifier: Some(source),
        forward: true,
        from_headers: from
            .headers
            .iter()
            .map(|header| JwtHeader {
                name: header.name.to_string(),
                value_prefix: header.value_prefix.as_ref().map(ToString::to_string).unwrap_or_default(),
            })
            .collect(),
        from_params: from.params.iter().map(ToString::to_string).collect(),
        from_cookies: from.cookies.iter().map(ToString::to_string).collect(),
        payload_in_metadata: written.name.to_string(),
        // Scopes are words in one text: rules about them need the words.
        normalize_payload_in_metadata: Some(NormalizePayload { space_delimited_claims: vec!["scope".to_owned()] }),
        claim_to_headers: written
            .claim_to_headers
            .iter()
            .map(|claim| JwtClaimToHeader {
                header_name: claim.header.to_string(),
                claim_name: claim.claim.to_string(),
                ..JwtClaimToHeader::default()
            })
            .collect(),
        clear_route_cache: written.recompute_route.unwrap_or(false),
        ..EnvoyProvider::default()
    })
}

fn remote(
    policy: &Policy<'_>,
    written: &RemoteJwks,
    provider: &str,
    path: &FieldPath,
    security: &mut Security,
) -> Result<EnvoyRemoteJwks, Problem> {
    let Some(address) = Address::parse(&written.uri) else {
        return Err(Problem::wrong(path.field("uri"), format!("`{}` is not an http or https address", written.uri)));
    };
    let part = format!("jwt.{provider}");
    let upstream =
        policy.backends(&written.backends, path, &part, false)?.unwrap_or(Upstream::External(address.authority));
    let cluster = upstream.name();
    security.upstreams.push(upstream);
    Ok(EnvoyRemoteJwks {
        http_uri: Some(HttpUri {
            uri: written.uri.to_string(),
            timeout: Some(seconds(FETCH_SECONDS)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(cluster)),
        }),
        cache_duration: Some(written.cache_duration.map_or(seconds(CACHE_SECONDS), |time| duration(time.0))),
        // Keys are fetched ahead of the first token, and nothing waits for a provider that does not answer.
        async_fetch: Some(JwksAsyncFetch {
            fast_listener: true,
            failed_refetch_duration: written.failed_refetch_duration.map(|time| duration(time.0)),
        }),
        retry_policy: written
            .backends
            .backend_settings
            .as_ref()
            .and_then(|settings| settings.retry.as_ref())
            .map(crate::policy::traffic::own_retries),
    })
}

fn local(policy: &Policy<'_>, written: &LocalJwks, path: &FieldPath) -> Result<String, Problem> {
    let (keys, path) = match (&written.inline, &written.value_ref) {
        (Some(inline), _) => (inline.clone(), path.field("inline")),
        (None, Some(reference)) => {
            let path = path.field("valueRef");
            let id = policy.object(&path, &reference.name)?;
            let view = policy.view();
            let of_map = view.spec::<ConfigMap>(id).and_then(|map| map.get("jwks").or_else(|| map.first()));
            let of_secret = || view.spec::<Secret>(id).and_then(|secret| secret.get("jwks"));
            let Some(found) = of_map.or_else(of_secret).and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
                return Err(Problem::wrong(path, format!("{id} has no data key jwks")));
            };
            (found.to_owned(), path)
        }
        (None, None) => return Err(Problem::wrong(path.clone(), "there are no keys")),
    };
    let parsed = serde_json::from_str::<serde_json::Value>(&keys).ok();
    if parsed.and_then(|value| value.get("keys").map(|keys| keys.as_array().is_some_and(|keys| !keys.is_empty())))
        != Some(true)
    {
        return Err(Problem::wrong(path, "it is not a JSON object with a list of `keys`"));
    }
    Ok(keys)
}
