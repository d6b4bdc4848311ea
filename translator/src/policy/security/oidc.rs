//! People who log in with an OpenID provider.
//!
//! Nothing is fetched while translating: the endpoints that the provider would tell are written in the policy.

use kinds::FieldPath;
use kinds::ObjectId;
use kinds::core::Secret;
use kinds::envoy_gateway::Oidc;
use xds_api::envoy::config::core::v3::HttpUri;
use xds_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use xds_api::envoy::config::route::v3::HeaderMatcher;
use xds_api::envoy::extensions::filters::http::oauth2::v3::cookie_config::SameSite;
use xds_api::envoy::extensions::filters::http::oauth2::v3::o_auth2_config::AuthType;
use xds_api::envoy::extensions::filters::http::oauth2::v3::o_auth2_credentials::{CookieNames, TokenFormation};
use xds_api::envoy::extensions::filters::http::oauth2::v3::{
    CookieConfig, CookieConfigs, OAuth2, OAuth2Config, OAuth2Credentials, OAuth2TokenForwarding,
};
use xds_api::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};

use super::{Policy, Security};
use crate::names::SecretId;
use crate::policy::Problem;
use crate::policy::extension::{Address, Upstream};
use crate::policy::traffic::string_match;
use crate::render::build::{boolean, duration, seconds};
use crate::render::downstream_tls::sds;
use crate::routing::{exactly, matching};

const CLIENT_SECRET: &str = "client-secret";
const CLIENT_ID: &str = "client-id";
const TOKEN_SECONDS: i64 = 10;
const CALLBACK: &str = "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback";

pub(super) fn filter(policy: &Policy<'_>, written: &Oidc, security: &mut Security) -> Result<OAuth2, Problem> {
    let base = FieldPath::from("spec.oidc");
    let provider = base.field("provider");
    let (Some(authorization), Some(token)) =
        (&written.provider.authorization_endpoint, &written.provider.token_endpoint)
    else {
        let message = "authorizationEndpoint and tokenEndpoint have to be written: no provider is asked for them";
        return Err(Problem::unsupported(provider, message));
    };
    let Some(address) = Address::parse(token) else {
        let message = format!("`{token}` is not an http or https address");
        return Err(Problem::wrong(provider.field("tokenEndpoint"), message));
    };
    let upstream = policy
        .backends(&written.provider.backends, &provider, "oidc.provider", false)?
        .unwrap_or(Upstream::External(address.authority));
    let cluster = upstream.name();
    security.upstreams.push(upstream);
    let client_secret = secret_with(policy, &base.field("clientSecret"), &written.client_secret.name, CLIENT_SECRET)?;
    let client_id = match (&written.client_id, &written.client_id_ref) {
        (Some(id), _) => id.to_string(),
        (None, Some(reference)) => {
            let path = base.field("clientIDRef");
            let id = secret_with(policy, &path, &reference.name, CLIENT_ID)?;
            let text = policy.view().spec::<Secret>(&id).and_then(|secret| secret.get(CLIENT_ID));
            String::from_utf8_lossy(text.unwrap_or_default()).trim().to_owned()
        }
        (None, None) => return Err(Problem::wrong(base.field("clientID"), "there is no client ID")),
    };
    let secret = SecretId::Generic(client_secret, CLIENT_SECRET.into());
    security.secrets.push(secret.clone());
    let redirect = written.redirect_url.as_ref().map_or(CALLBACK, |url| url.as_str());
    let callback_path = redirect.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let mut scopes: Vec<String> = written.scopes.iter().map(ToString::to_string).collect();
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    let logout = written.logout_path.as_ref().map_or("/logout", |path| path.as_str());
    let names = written.cookie_names.clone().unwrap_or_default();
    for (field, name) in [("accessToken", &names.access_token), ("idToken", &names.id_token)] {
        if name.as_ref().is_some_and(|name| !is_cookie_name(name)) {
            let path = base.field("cookieNames").field(field);
            return Err(Problem::wrong(path, "a cookie is named with letters, digits and signs such as - and _"));
        }
    }
    let suffix = format!("{}", policy.chain).replace(['/', '+'], "-");
    let cookie = |name: Option<&smol_str::SmolStr>, usual: &str| {
        name.map_or_else(|| format!("{usual}-{suffix}"), ToString::to_string)
    };
    let config = OAuth2Config {
        token_endpoint: Some(HttpUri {
            uri: token.to_string(),
            timeout: Some(seconds(TOKEN_SECONDS)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(cluster)),
        }),
        retry_policy: written
            .provider
            .backends
            .backend_settings
            .as_ref()
            .and_then(|settings| settings.retry.as_ref())
            .map(crate::policy::traffic::own_retries),
        authorization_endpoint: authorization.to_string(),
        end_session_endpoint: written
            .provider
            .end_session_endpoint
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        credentials: Some(OAuth2Credentials {
            client_id,
            token_secret: Some(sds(&secret)),
            // Cookies are signed with what only the provider and the proxies know.
            token_formation: Some(TokenFormation::HmacSecret(sds(&secret))),
            cookie_names: Some(CookieNames {
                bearer_token: cookie(names.access_token.as_ref(), "AccessToken"),
                oauth_hmac: cookie(None, "OauthHMAC"),
                oauth_expires: cookie(None, "OauthExpires"),
                id_token: cookie(names.id_token.as_ref(), "IdToken"),
                refresh_token: cookie(None, "RefreshToken"),
                oauth_nonce: cookie(None, "OauthNonce"),
                code_verifier: cookie(None, "CodeVerifier"),
            }),
            cookie_domain: written.cookie_domain.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        redirect_uri: redirect.to_owned(),
        redirect_path_matcher: Some(path_is(callback_path.unwrap_or("/oauth2/callback"))),
        signout_path: Some(path_is(logout)),
        forward_bearer_token: written.forward_access_token.unwrap_or(false),
        forward_id_token: written
            .forward_id_token
            .as_ref()
            .map(|forward| OAuth2TokenForwarding { header: forward.header.to_string() }),
        preserve_authorization_header: !written.forward_access_token.unwrap_or(false),
        pass_through_matcher: if written.pass_through_auth_header == Some(true) { vec![bearer()] } else { Vec::new() },
        auth_scopes: scopes,
        resources: written.resources.iter().map(ToString::to_string).collect(),
        auth_type: AuthType::BasicAuth as i32,
        use_refresh_token: Some(boolean(written.refresh_token.unwrap_or(true))),
        default_expires_in: written.default_token_ttl.map(|time| duration(time.0)),
        default_refresh_token_expires_in: written.default_refresh_token_ttl.map(|time| duration(time.0)),
        csrf_token_expires_in: written.csrf_token_ttl.map(|time| duration(time.0)),
        deny_redirect_matcher: written
            .deny_redirect
            .iter()
            .flat_map(|deny| &deny.headers)
            .map(|header| {
                matching(&header.name, string_match(header.kind, header.value.as_deref().unwrap_or_default()))
            })
            .collect(),
        cookie_configs: written.cookie_config.as_ref().map(|config| same_site(config.same_site.as_deref())),
        disable_token_encryption: written.disable_token_encryption.unwrap_or(false),
        ..OAuth2Config::default()
    };
    Ok(OAuth2 { config: Some(config) })
}

fn secret_with(policy: &Policy<'_>, path: &FieldPath, name: &str, key: &str) -> Result<ObjectId, Problem> {
    let id = policy.object(path, name)?;
    let there =
        policy.view().spec::<Secret>(id).and_then(|secret| secret.get(key)).is_some_and(|text| !text.is_empty());
    if there { Ok(id.clone()) } else { Err(Problem::wrong(path.clone(), format!("{id} has no data key {key}"))) }
}

fn path_is(path: &str) -> PathMatcher {
    PathMatcher { rule: Some(path_matcher::Rule::Path(exactly(path))) }
}

/// A request that brings a token of its own is somebody else's to judge.
fn bearer() -> HeaderMatcher {
    matching("authorization", string_match(Some(kinds::envoy_gateway::shared::StringMatchType::Prefix), "Bearer "))
}

fn same_site(word: Option<&str>) -> CookieConfigs {
    let same_site = match word {
        Some("Strict") => SameSite::Strict,
        Some("None") => SameSite::None,
        _ => SameSite::Lax,
    };
    let config = Some(CookieConfig { same_site: same_site as i32, ..CookieConfig::default() });
    CookieConfigs {
        bearer_token_cookie_config: config.clone(),
        oauth_hmac_cookie_config: config.clone(),
        oauth_expires_cookie_config: config.clone(),
        id_token_cookie_config: config.clone(),
        refresh_token_cookie_config: config.clone(),
        oauth_nonce_cookie_config: config.clone(),
        code_verifier_cookie_config: config,
    }
}

/// Whether it is a token, as cookies and headers are named.
fn is_cookie_name(name: &str) -> bool {
    let sign = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
}
