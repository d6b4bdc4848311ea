//! HTTPRoute.

use kinds::Object;
use kinds::envoy_gateway::CookieMatch;
use kinds::gateway::{HttpRouteMatch, HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts, PathMatchType};
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy, Route, RouteAction, RouteMatch, header_matcher::HeaderMatchSpecifier,
    retry_policy::RetryBackOff,
};

use super::filters::redirect;
use super::forward::answer;
use super::judged::{Judged, JudgedRule, judge};
use super::matches::{self, exactly};
use super::session::{Session, cookie_path};
use super::{Rendered, Ruled};
use crate::attach::PlannedListener;
use crate::engine::View;
use crate::render::build::{duration, uint32};

pub(super) fn render(route: &Object, listener: &PlannedListener, ruled: &Ruled<'_>, view: &View<'_>) -> Rendered {
    let mut rendered = Rendered::default();
    let Some(spec) = route.spec::<HttpRouteSpec>() else { return rendered };
    let gateway = &listener.id.gateway;
    let Judged { rules, problems } = judge(route, view);
    rendered.problems = problems;
    for (index, (rule, JudgedRule { effects, mut forward, refused })) in spec.rules.iter().zip(rules).enumerate() {
        let session = Session::of(&route.id, (index, rule.name.as_deref()), rule.session_persistence.as_ref());
        let everything = [HttpRouteMatch::default()];
        let written = if rule.matches.is_empty() { &everything[..] } else { &rule.matches[..] };
        let policies = ruled.rule(index);
        forward.connect_as(policies.settings());
        let cookies = effects.as_ref().map(|effects| effects.cookies.as_slice()).unwrap_or_default();
        for (position, one, cookies) in each_match(written, cookies) {
            let (mut envoy_match, mut precedence) = matches::http(route, index, position, one);
            if let Some(cookies) = cookies {
                matches::with_cookies(cookies, &mut envoy_match, &mut precedence);
            }
            let mut envoy = named("httproute", route, index, position, envoy_match);
            match &effects {
                None => envoy.action = Some(answer(500)),
                Some(_) if refused || policies.refused() => envoy.action = Some(answer(500)),
                Some(effects) => {
                    policies.apply(&mut envoy, rule.name.as_deref());
                    effects.apply(&mut envoy);
                    forward.look_up(effects, &mut envoy);
                    if let Some(session) = &session {
                        session.apply(cookie_path(one), &mut envoy);
                    }
                    let prefix = (one.path.kind == PathMatchType::PathPrefix).then_some(one.path.value.as_str());
                    envoy.action = Some(match (&effects.redirect, &effects.answer) {
                        (Some(filter), _) => Action::Redirect(redirect(filter, prefix, listener)),
                        (None, Some(answer)) => Action::DirectResponse(answer.clone()),
                        (None, None) => forward.action(|action| {
                            policies.apply_to_action(action);
                            effects.apply_to_action(prefix, action);
                            forward.apply_alone(prefix, action);
                            timeouts_and_retries(rule, action);
                        }),
                    });
                }
            }
            if (effects.as_ref().is_some_and(|effects| effects.cors) || policies.cors()) && one.method.is_some() {
                rendered.push(gateway, precedence.clone(), preflight(&envoy));
            }
            rendered.push(gateway, precedence, envoy);
        }
        rendered.clusters.extend(forward.clusters());
        if let Some(effects) = effects {
            rendered.clusters.extend(effects.clusters);
            rendered.secrets.extend(effects.secrets);
        }
    }
    rendered
}

/// Every match of a rule with every set of cookies that it wants besides, and the match's position.
fn each_match<'a>(
    matches: &'a [HttpRouteMatch],
    cookies: &'a [Vec<CookieMatch>],
) -> impl Iterator<Item = (usize, &'a HttpRouteMatch, Option<&'a [CookieMatch]>)> {
    matches.iter().enumerate().flat_map(move |(position, one)| {
        let without = cookies.is_empty().then_some((position, one, None));
        without.into_iter().chain(cookies.iter().map(move |set| (position, one, Some(set.as_slice()))))
    })
}

/// An Envoy route with a name that says where it was written: the kind, and `NAMESPACE/NAME/rule/N/match/N`.
pub(super) fn named(kind: &str, route: &Object, rule: usize, position: usize, envoy_match: RouteMatch) -> Route {
    let (namespace, name) = (route.id.namespace.as_str(), route.id.name.as_str());
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (rule, position) = (first.format(rule), second.format(position));
    let name = [kind, "/", namespace, "/", name, "/rule/", rule, "/match/", position].concat();
    Route { name, r#match: Some(envoy_match), ..Route::default() }
}

/// A browser asks for permission with OPTIONS whatever the method of the request it is about to send.
fn preflight(route: &Route) -> Route {
    let mut twin = route.clone();
    twin.name.push_str("/cors-preflight");
    if let Some(envoy_match) = &mut twin.r#match {
        envoy_match.headers.retain(|header| header.name != ":method");
        envoy_match.headers.push(matches::header(":method", exactly("OPTIONS")));
        for name in ["origin", "access-control-request-method"] {
            envoy_match.headers.push(HeaderMatcher {
                name: name.to_owned(),
                header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
                ..HeaderMatcher::default()
            });
        }
    }
    twin
}

/// Timeouts and retries of a rule.
fn timeouts_and_retries(rule: &HttpRouteRule, action: &mut RouteAction) {
    let HttpRouteTimeouts { request, backend_request } = rule.timeouts.clone().unwrap_or_default();
    let retry = rule.retry.as_ref();
    // The time of one attempt is the time of the request where there is but one attempt.
    let whole = if retry.is_none() { backend_request.or(request) } else { request };
    if let Some(whole) = whole {
        action.timeout = Some(duration(whole.0));
    }
    let Some(retry) = retry else { return };
    let back_off = retry.backoff.map(|backoff| RetryBackOff {
        base_interval: Some(duration(backoff.0)),
        max_interval: Some(duration(backoff.0 * 10)),
    });
    action.retry_policy = Some(RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: Some(uint32(retry.attempts.unwrap_or(2))),
        retriable_status_codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
        per_try_timeout: backend_request.map(|timeout| duration(timeout.0)),
        retry_back_off: back_off,
        ..RetryPolicy::default()
    });
}

/// Failures after which nothing was answered, and the codes that the user names.
const RETRY_ON: &str = "connect-failure,refused-stream,reset,retriable-status-codes";
