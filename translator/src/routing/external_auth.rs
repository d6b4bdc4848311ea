//! A service that a rule wants asked about each request, as Gateway API's filter `ExternalAuth` says.
//!
//! The filter stands in the route itself and not in a chain of guards, so that a policy's own service is asked as well.

use kinds::gateway::HttpExternalAuthFilter;
use kinds::{FieldPath, Object};
use xds_api::any;
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use xds_api::envoy::config::core::v3::{ApiVersion, GrpcService, HttpUri};
use xds_api::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use xds_api::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationResponse, BufferSettings, ExtAuthz, HttpService,
};
use xds_api::envoy::r#type::matcher::v3::{ListStringMatcher, StringMatcher, string_matcher::MatchPattern};

use super::backends;
use super::filters::{Effects, Refused};
use super::matches::exactly_any_case;
use crate::engine::View;
use crate::render::build::{extension, seconds};
use crate::render::filters::traffic::{self, Place};

const TIMEOUT_SECONDS: i64 = 10;

pub(super) fn take(
    effects: &mut Effects,
    route: &Object,
    written: &HttpExternalAuthFilter,
    path: &FieldPath,
    view: &View<'_>,
) -> Result<(), Refused> {
    let grpc = written.protocol == "GRPC";
    let path = path.field("backendRef");
    let cluster = backends::resolve(route, path.as_str(), &written.backend_ref, grpc, view).map_err(|broken| {
        Refused { condition: "ResolvedRefs", reason: broken.reason, message: broken.message, path }
    })?;
    let timeout = Some(seconds(TIMEOUT_SECONDS));
    let services = if grpc {
        Services::GrpcService(GrpcService {
            timeout,
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: cluster.to_string(),
                // The cluster's name is no authority, and strict servers refuse it.
                authority: "ext-auth".to_owned(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        })
    } else {
        let http = written.http.clone().unwrap_or_default();
        Services::HttpService(HttpService {
            server_uri: Some(HttpUri {
                uri: "http://ext-auth".to_owned(),
                timeout,
                http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.to_string())),
            }),
            path_prefix: http.path.as_ref().map(ToString::to_string).unwrap_or_default(),
            authorization_response: Some(AuthorizationResponse {
                allowed_upstream_headers: Some(to_backend(&http.allowed_response_headers)),
                ..AuthorizationResponse::default()
            }),
            ..HttpService::default()
        })
    };
    let to_service = if grpc {
        written.grpc.as_ref().map(|grpc| &grpc.allowed_headers)
    } else {
        written.http.as_ref().map(|http| &http.allowed_headers)
    };
    let to_service: Vec<_> = to_service.into_iter().flatten().map(|name| exactly_any_case(name)).collect();
    let filter = ExtAuthz {
        transport_api_version: ApiVersion::V3 as i32,
        services: Some(services),
        allowed_headers: (!to_service.is_empty()).then_some(ListStringMatcher { patterns: to_service }),
        with_request_body: written.forward_body.as_ref().and_then(|body| body.max_size).filter(|size| *size > 0).map(
            |max_request_bytes| BufferSettings {
                max_request_bytes,
                allow_partial_message: true,
                ..BufferSettings::default()
            },
        ),
        ..ExtAuthz::default()
    };
    effects.orders.push(traffic::order(Place::Asked, vec![extension("envoy.filters.http.ext_authz", any(&filter))]));
    effects.clusters.push(cluster);
    Ok(())
}

/// Headers of the service's answer that go on to the backend. Where none are named, those that can be about the caller:
/// what an answer says about its own body must not become the request's.
fn to_backend(named: &[smol_str::SmolStr]) -> ListStringMatcher {
    if !named.is_empty() {
        return ListStringMatcher { patterns: named.iter().map(|name| exactly_any_case(name)).collect() };
    }
    let own = StringMatcher { match_pattern: Some(MatchPattern::Prefix("x-".to_owned())), ignore_case: true };
    ListStringMatcher { patterns: vec![own, exactly_any_case("authorization"), exactly_any_case("cookie")] }
}
