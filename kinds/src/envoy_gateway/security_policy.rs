//! SecurityPolicy: who may come in.

use smol_str::SmolStr;

use super::shared::*;
use crate::gateway::Duration;

records! {
    SecurityPolicySpec {
        #[serde(flatten)]
        targets: PolicyTargets,
        merge_type: Option<MergeType>,
        api_key_auth: Option<ApiKeyAuth>,
        cors: Option<Cors>,
        csrf: Option<Csrf>,
        basic_auth: Option<BasicAuth>,
        jwt: Option<Jwt>,
        oidc: Option<Oidc>,
        ext_auth: Option<ExtAuth>,
        authorization: Option<Authorization>,
    }

    ApiKeyAuth {
        credential_refs: Vec<SecretRef>,
        extract_from: Vec<ApiKeySource>,
        #[serde(rename = "forwardClientIDHeader")]
        forward_client_id_header: Option<SmolStr>,
        sanitize: Option<bool>,
    }

    ApiKeySource {
        headers: Vec<SmolStr>,
        params: Vec<SmolStr>,
        cookies: Vec<SmolStr>,
    }

    Cors {
        allow_origins: Vec<SmolStr>,
        allow_methods: Vec<SmolStr>,
        allow_headers: Vec<SmolStr>,
        expose_headers: Vec<SmolStr>,
        max_age: Option<Duration>,
        allow_credentials: Option<bool>,
    }

    Csrf {
        additional_origins: Vec<SmolStr>,
        shadow_fraction: Option<Fraction>,
    }

    BasicAuth {
        users: SecretRef,
        forward_username_header: Option<SmolStr>,
    }

    Jwt {
        optional: Option<bool>,
        fail_open: Option<bool>,
        providers: Vec<JwtProvider>,
    }

    JwtProvider {
        name: SmolStr,
        issuer: Option<SmolStr>,
        audiences: Vec<SmolStr>,
        #[serde(rename = "remoteJWKS")]
        remote_jwks: Option<RemoteJwks>,
        #[serde(rename = "localJWKS")]
        local_jwks: Option<LocalJwks>,
        claim_to_headers: Vec<ClaimToHeader>,
        recompute_route: Option<bool>,
        extract_from: Option<JwtExtractor>,
    }

    RemoteJwks {
        uri: SmolStr,
        #[serde(flatten)]
        backends: ExtensionBackends,
        cache_duration: Option<Duration>,
        failed_refetch_duration: Option<Duration>,
    }

    LocalJwks {
        #[serde(rename = "type")]
        kind: Option<SmolStr>,
        inline: Option<String>,
        value_ref: Option<ValueRef>,
    }

    ClaimToHeader {
        header: SmolStr,
        claim: SmolStr,
    }

    JwtExtractor {
        headers: Vec<JwtHeader>,
        cookies: Vec<SmolStr>,
        params: Vec<SmolStr>,
    }

    JwtHeader {
        name: SmolStr,
        value_prefix: Option<SmolStr>,
    }

    Oidc {
        provider: OidcProvider,
        #[serde(rename = "clientID")]
        client_id: Option<SmolStr>,
        #[serde(rename = "clientIDRef")]
        client_id_ref: Option<SecretRef>,
        client_secret: SecretRef,
        cookie_names: Option<OidcCookieNames>,
        cookie_config: Option<OidcCookieConfig>,
        cookie_domain: Option<SmolStr>,
        scopes: Vec<SmolStr>,
        resources: Vec<SmolStr>,
        #[serde(rename = "redirectURL")]
        redirect_url: Option<SmolStr>,
        deny_redirect: Option<OidcDenyRedirect>,
        logout_path: Option<SmolStr>,
        forward_access_token: Option<bool>,
        #[serde(rename = "forwardIDToken")]
        forward_id_token: Option<ForwardIdToken>,
        #[serde(rename = "defaultTokenTTL")]
        default_token_ttl: Option<Duration>,
        refresh_token: Option<bool>,
        #[serde(rename = "defaultRefreshTokenTTL")]
        default_refresh_token_ttl: Option<Duration>,
        #[serde(rename = "csrfTokenTTL")]
        csrf_token_ttl: Option<Duration>,
        disable_token_encryption: Option<bool>,
        pass_through_auth_header: Option<bool>,
    }

    OidcProvider {
        issuer: SmolStr,
        authorization_endpoint: Option<SmolStr>,
        token_endpoint: Option<SmolStr>,
        end_session_endpoint: Option<SmolStr>,
        #[serde(flatten)]
        backends: ExtensionBackends,
    }

    OidcCookieNames {
        access_token: Option<SmolStr>,
        id_token: Option<SmolStr>,
    }

    OidcCookieConfig {
        same_site: Option<SmolStr>,
    }

    OidcDenyRedirect {
        headers: Vec<NamedStringMatch>,
    }

    ForwardIdToken {
        header: SmolStr,
    }

    ExtAuth {
        grpc: Option<ExtensionBackends>,
        http: Option<HttpExtAuth>,
        headers_to_ext_auth: Vec<SmolStr>,
        body_to_ext_auth: Option<BodyToExtAuth>,
        fail_open: Option<bool>,
        timeout: Option<Duration>,
        recompute_route: Option<bool>,
        status_on_error: Option<u32>,
        context_extensions: Vec<ContextExtension>,
        include_route_metadata: Option<bool>,
    }

    HttpExtAuth {
        #[serde(flatten)]
        backends: ExtensionBackends,
        path: Option<SmolStr>,
        path_override: Option<SmolStr>,
        headers_to_backend: Vec<SmolStr>,
    }

    BodyToExtAuth {
        max_request_bytes: u32,
    }

    ContextExtension {
        name: SmolStr,
        #[serde(rename = "type")]
        kind: Option<SmolStr>,
        value: Option<SmolStr>,
        value_ref: Option<ValueRef>,
    }

    Authorization {
        default_action: Option<AuthorizationAction>,
        rules: Vec<AuthorizationRule>,
    }

    AuthorizationRule {
        name: Option<SmolStr>,
        action: Option<AuthorizationAction>,
        operation: Option<Operation>,
        principal: Option<Principal>,
        cel: Option<String>,
    }

    Operation {
        methods: Vec<SmolStr>,
        path: Option<OperationPath>,
    }

    OperationPath {
        #[serde(rename = "type")]
        kind: Option<OperationPathType>,
        value: SmolStr,
        invert: Option<bool>,
    }

    Principal {
        #[serde(rename = "clientCIDRs")]
        client_cidrs: Vec<SmolStr>,
        #[serde(rename = "clientIPGeoLocations")]
        client_ip_geo_locations: Vec<GeoLocation>,
        jwt: Option<JwtPrincipal>,
        headers: Vec<PrincipalHeader>,
    }

    GeoLocation {
        country: Option<SmolStr>,
        region: Option<SmolStr>,
        city: Option<SmolStr>,
        asn: Option<u32>,
        isp: Option<SmolStr>,
        anonymous: Option<AnonymousLocation>,
    }

    AnonymousLocation {
        is_anonymous: Option<bool>,
        #[serde(rename = "isVPN")]
        is_vpn: Option<bool>,
        is_hosting: Option<bool>,
        is_tor: Option<bool>,
        is_proxy: Option<bool>,
    }

    JwtPrincipal {
        provider: SmolStr,
        claims: Vec<JwtClaim>,
        scopes: Vec<SmolStr>,
    }

    JwtClaim {
        name: SmolStr,
        value_type: Option<ClaimValueType>,
        values: Vec<SmolStr>,
    }

    PrincipalHeader {
        name: SmolStr,
        values: Vec<SmolStr>,
    }
}

words! {
    MergeType {
        StrategicMerge,
        #[serde(rename = "JSONMerge")]
        JsonMerge,
        Replace,
    }

    AuthorizationAction { Allow, Deny, }

    OperationPathType { Exact, PathPrefix, RegularExpression, }

    ClaimValueType { String, StringArray, }
}
