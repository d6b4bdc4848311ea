//! GRPCRoute: the same as HTTPRoute, with methods in the place of paths and HTTP/2 to the backends.

use std::cmp::Reverse;

use kinds::Object;
use kinds::gateway::{GrpcMethodMatch, GrpcMethodMatchType, GrpcRouteMatch, GrpcRouteSpec};
use xds_api::envoy::config::route::v3::RouteMatch;
use xds_api::envoy::config::route::v3::route_match::{GrpcRouteMatchOptions, PathSpecifier};

use super::forward::answer;
use super::http::named;
use super::judged::{Judged, JudgedRule, judge};
use super::matches::{headers, regex};
use super::session::Session;
use super::{PathRank, Precedence, Rendered, Ruled};
use crate::attach::PlannedListener;
use crate::engine::View;

pub(super) fn render(route: &Object, listener: &PlannedListener, ruled: &Ruled<'_>, view: &View<'_>) -> Rendered {
    let mut rendered = Rendered::default();
    let Some(spec) = route.spec::<GrpcRouteSpec>() else { return rendered };
    let Judged { rules, problems } = judge(route, view);
    rendered.problems = problems;
    for (index, (rule, JudgedRule { effects, mut forward, refused })) in spec.rules.iter().zip(rules).enumerate() {
        let session = Session::of(&route.id, (index, rule.name.as_deref()), rule.session_persistence.as_ref());
        let everything = [GrpcRouteMatch::default()];
        let written = if rule.matches.is_empty() { &everything[..] } else { &rule.matches[..] };
        let policies = ruled.rule(index);
        forward.connect_as(policies.settings());
        for (position, one) in written.iter().enumerate() {
            let (envoy_match, precedence) = grpc_match(route, index, position, one);
            let mut envoy = named("grpcroute", route, index, position, envoy_match);
            envoy.action = Some(match &effects {
                None => answer(500),
                Some(_) if refused || policies.refused() => answer(500),
                Some(effects) => {
                    policies.apply(&mut envoy, rule.name.as_deref());
                    effects.apply(&mut envoy);
                    forward.look_up(effects, &mut envoy);
                    if let Some(session) = &session {
                        session.apply("/", &mut envoy);
                    }
                    forward.action(|action| {
                        policies.apply_to_action(action);
                        effects.apply_to_action(None, action);
                        forward.apply_alone(None, action);
                    })
                }
            });
            rendered.push(&listener.id.gateway, precedence, envoy);
        }
        rendered.clusters.extend(forward.clusters());
        if let Some(effects) = effects {
            rendered.clusters.extend(effects.clusters);
            rendered.secrets.extend(effects.secrets);
        }
    }
    rendered
}

fn grpc_match(route: &Object, rule: usize, index: usize, written: &GrpcRouteMatch) -> (RouteMatch, Precedence) {
    let mut precedence = Precedence::of(route, rule, index);
    precedence.headers = Reverse(written.headers.len());
    let (specifier, rank) = path(written.method.as_ref());
    precedence.path = rank;
    let length = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
    let method = written.method.as_ref();
    // Characters of the service first, then of the method: a service never has as many as this.
    let service = length(method.and_then(|m| m.service.as_deref()));
    precedence.path_length = Reverse(service * 4096 + length(method.and_then(|m| m.method.as_deref())));
    let envoy = RouteMatch {
        path_specifier: Some(specifier),
        headers: headers(&written.headers),
        grpc: Some(GrpcRouteMatchOptions {}),
        ..RouteMatch::default()
    };
    (envoy, precedence)
}

fn path(method: Option<&GrpcMethodMatch>) -> (PathSpecifier, PathRank) {
    let Some(method) = method else { return (PathSpecifier::Prefix("/".to_owned()), PathRank::Prefix) };
    let by_regex = method.kind == GrpcMethodMatchType::RegularExpression;
    let any = "[^/]+";
    match (method.service.as_deref(), method.method.as_deref()) {
        (None, None) => (PathSpecifier::Prefix("/".to_owned()), PathRank::Prefix),
        (service, name) if by_regex => {
            let pattern = format!("/{}/{}", service.unwrap_or(any), name.unwrap_or(any));
            (PathSpecifier::SafeRegex(regex(&pattern)), PathRank::Regex)
        }
        (Some(service), Some(name)) => (PathSpecifier::Path(format!("/{service}/{name}")), PathRank::Exact),
        (Some(service), None) => (PathSpecifier::Prefix(format!("/{service}/")), PathRank::Prefix),
        (None, Some(name)) => (PathSpecifier::SafeRegex(regex(&format!("/{any}/{name}"))), PathRank::Regex),
    }
}
