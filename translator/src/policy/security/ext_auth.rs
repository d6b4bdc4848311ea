//! A service that is asked about each request.

use kinds::FieldPath;
use kinds::envoy_gateway::ExtAuth;
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use xds_api::envoy::config::core::v3::{ApiVersion, GrpcService, HttpUri};
use xds_api::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use xds_api::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationResponse, BufferSettings, ExtAuthz, HttpService,
};
use xds_api::envoy::r#type::matcher::v3::ListStringMatcher;
use xds_api::envoy::r#type::v3::HttpStatus;

use super::{Policy, Security};
use crate::policy::Problem;
use crate::render::build::duration;
use crate::routing::exactly_any_case;

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn filter(policy: &Policy<'_>, written: &ExtAuth, security: &mut Security) -> Result<ExtAuthz, Problem> {
    let base = FieldPath::from("spec.extAuth");
    if !written.context_extensions.is_empty() {
        let message = "a service that many routes share is told nothing about the single route";
        return Err(Problem::unsupported(base.field("contextExtensions"), message));
    }
    if written.include_route_metadata == Some(true) {
        let message = "routes carry no metadata of Envoy Gateway's";
        return Err(Problem::unsupported(base.field("includeRouteMetadata"), message));
    }
    let timeout = written.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    let services = if let Some(grpc) = &written.grpc {
        let path = base.field("grpc");
        let Some(upstream) = policy.backends(grpc, &path, "extAuth.grpc", true)? else {
            return Err(Problem::wrong(path.field("backendRefs"), "no backend is named"));
        };
        let cluster_name = upstream.name();
        security.upstreams.push(upstream);
        Services::GrpcService(GrpcService {
            timeout: Some(duration(timeout)),
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name,
                // The cluster's name is no authority, and strict servers refuse it.
                authority: "ext-auth".to_owned(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        })
    } else if let Some(http) = &written.http {
        let path = base.field("http");
        let Some(upstream) = policy.backends(&http.backends, &path, "extAuth.http", false)? else {
            return Err(Problem::wrong(path.field("backendRefs"), "no backend is named"));
        };
        let cluster = upstream.name();
        security.upstreams.push(upstream);
        let to_backend = http.headers_to_backend.iter().map(|name| exactly_any_case(name)).collect::<Vec<_>>();
        Services::HttpService(HttpService {
            server_uri: Some(HttpUri {
                uri: "http://ext-auth".to_owned(),
                timeout: Some(duration(timeout)),
                http_upstream_type: Some(HttpUpstreamType::Cluster(cluster)),
            }),
            path_prefix: http.path.as_ref().map(ToString::to_string).unwrap_or_default(),
            path_override: http.path_override.as_ref().map(ToString::to_string).unwrap_or_default(),
            authorization_response: (!to_backend.is_empty()).then(|| AuthorizationResponse {
                allowed_upstream_headers: Some(ListStringMatcher { patterns: to_backend }),
                ..AuthorizationResponse::default()
            }),
            ..HttpService::default()
        })
    } else {
        return Err(Problem::wrong(base, "neither grpc nor http says whom to ask"));
    };
    let headers: Vec<_> = written.headers_to_ext_auth.iter().map(|name| exactly_any_case(name)).collect();
    Ok(ExtAuthz {
        transport_api_version: ApiVersion::V3 as i32,
        services: Some(services),
        failure_mode_allow: written.fail_open.unwrap_or(false),
        clear_route_cache: written.recompute_route.unwrap_or(false),
        allowed_headers: (!headers.is_empty()).then_some(ListStringMatcher { patterns: headers }),
        with_request_body: written
            .body_to_ext_auth
            .as_ref()
            .map(|body| BufferSettings { max_request_bytes: body.max_request_bytes, ..BufferSettings::default() }),
        status_on_error: written.status_on_error.map(|code| HttpStatus { code: i32::try_from(code).unwrap_or(403) }),
        ..ExtAuthz::default()
    })
}
