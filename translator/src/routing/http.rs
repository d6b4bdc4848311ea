//! HTTPRoute.

use kinds::envoy_gateway::CookieMatch;
use kinds::gateway::{HttpBackendRef, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts, PathMatchType};
use kinds::{FieldPath, Object};
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, UpgradeConfig};
use xds_api::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use xds_api::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
use xds_api::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, RetryPolicy, Route, RouteAction, RouteMatch, WeightedCluster,
    header_matcher::HeaderMatchSpecifier, retry_policy::RetryBackOff,
};

use super::backends;
use super::fallback;
use super::filters::{Effects, of_backend, redirect};
use super::matches::{self, exactly};
use super::session::{Session, cookie_path, problem as session_problem};
use super::{Rendered, Ruled};
use crate::ai::Wishes;
use crate::attach::PlannedListener;
use crate::engine::View;
use crate::names::{ClusterId, Settings, UNRESOLVED_CLUSTER};
use crate::render::build::{duration, seconds, uint32};
use crate::render::dynamic;
use crate::render::filters::table_fallback;

pub(super) fn render(route: &Object, listener: &PlannedListener, ruled: &Ruled<'_>, view: &View<'_>) -> Rendered {
    let mut rendered = Rendered::default();
    let Some(spec) = route.spec::<HttpRouteSpec>() else { return rendered };
    let gateway = &listener.id.gateway;
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = FieldPath::from("spec.rules").index(index);
        let effects = Effects::gather(route, &rule.filters, &path.field("filters"), false, view);
        let session = Session::of(&route.id, (index, rule.name.as_deref()), rule.session_persistence.as_ref());
        let refused = session_problem(rule.session_persistence.as_ref(), &path).is_some()
            || fallback::problem(route, &rule.backend_refs, &path.field("backendRefs"), view).is_some();
        let everything = [HttpRouteMatch::default()];
        let written = if rule.matches.is_empty() { &everything[..] } else { &rule.matches[..] };
        let policies = ruled.rule(index);
        let mut forward = Forward::to(route, &rule.backend_refs, &path.field("backendRefs"), false, view);
        forward.connect_as(policies.settings());
        let cookies = effects.as_ref().map(|effects| effects.cookies.as_slice()).unwrap_or_default();
        for (position, one, cookies) in each_match(written, cookies) {
            let (mut envoy_match, mut precedence) = matches::http(route, index, position, one);
            if let Some(cookies) = cookies {
                matches::with_cookies(cookies, &mut envoy_match, &mut precedence);
            }
            let mut envoy = named(route, index, position, envoy_match);
            match &effects {
                Err(_) => envoy.action = Some(answer(500)),
                Ok(_) if refused || policies.refused() => envoy.action = Some(answer(500)),
                Ok(effects) => {
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
            if (effects.as_ref().is_ok_and(|effects| effects.cors) || policies.cors()) && one.method.is_some() {
                rendered.push(gateway, precedence.clone(), &preflight(&envoy));
            }
            rendered.push(gateway, precedence, &envoy);
        }
        rendered.clusters.extend(forward.clusters());
        if let Ok(effects) = effects {
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

pub(super) fn named(route: &Object, rule: usize, position: usize, envoy_match: RouteMatch) -> Route {
    let kind = route.id.kind.name().to_ascii_lowercase();
    Route {
        name: format!("{kind}/{}/{}/rule/{rule}/match/{position}", route.id.namespace, route.id.name),
        r#match: Some(envoy_match),
        metadata: Some(table_fallback::marker()),
        ..Route::default()
    }
}

pub(super) fn answer(status: u32) -> Action {
    Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })
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

/// The shares of a rule's backends.
pub(super) struct Forward(Vec<Share>);

struct Share {
    /// None for a backend that cannot be resolved: its share is answered 500.
    cluster: Option<ClusterId>,
    weight: u32,
    effects: Effects,
    wishes: Wishes,
    /// Whether the server is the one that the request names.
    by_request: bool,
    /// Whether it is there to take over from the others.
    fallback: bool,
}

impl Share {
    /// Whether nothing is to be done but to send requests there.
    fn is_bare(&self) -> bool {
        self.effects.headers.is_empty() && self.wishes.is_empty()
    }

    fn host(&self) -> Option<&str> {
        self.effects.rewrite.as_ref()?.hostname.as_deref()
    }
}

impl Forward {
    pub(super) fn to(
        route: &Object,
        references: &[HttpBackendRef],
        path: &FieldPath,
        http2: bool,
        view: &View<'_>,
    ) -> Self {
        let alone = references.iter().filter(|reference| reference.backend.weight > 0).count() < 2;
        let share = |(index, reference): (usize, &HttpBackendRef)| {
            let path = path.index(index);
            let effects = of_backend(route, &reference.filters, &path.field("filters"), alone, http2, view);
            let cluster = backends::resolve(route, path.as_str(), &reference.backend, http2, view).ok();
            // A share that would go without its filters is answered 500.
            let cluster = cluster.filter(|_| effects.is_ok());
            let effects = effects.unwrap_or_default();
            let wishes = cluster.as_ref().map(|cluster| Wishes::of(&cluster.backend, view)).unwrap_or_default();
            let backend = cluster.as_ref().and_then(|cluster| view.object(&cluster.backend));
            let by_request = backend.is_some_and(|backend| dynamic::is(backend));
            let fallback = cluster.as_ref().is_some_and(|cluster| fallback::is(&cluster.backend, view));
            Share { cluster, weight: reference.backend.weight, effects, wishes, by_request, fallback }
        };
        Self(references.iter().enumerate().map(share).collect())
    }

    /// Each backend gets the cluster of a policy that says how to connect.
    pub(super) fn connect_as(&mut self, settings: Option<&Settings>) {
        for share in &mut self.0 {
            share.cluster = share.cluster.take().map(|cluster| cluster.connected_as(settings));
        }
    }

    /// Every backend's cluster, those of weight 0 included: they may be given weight at any time.
    pub(super) fn clusters(&self) -> impl Iterator<Item = ClusterId> + '_ {
        let together = self.taking_over();
        let alone = together.is_none();
        let of = move |share: &Share| {
            let own = share.cluster.iter().filter(|_| alone);
            let all = own.chain(&share.wishes.clusters).chain(&share.effects.clusters);
            all.cloned().collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).chain(together)
    }

    /// The cluster of a rule whose backends take over from each other.
    fn taking_over(&self) -> Option<ClusterId> {
        if !self.0.iter().any(|share| share.fallback) {
            return None;
        }
        let weighted = self.0.iter().filter(|share| share.weight > 0);
        fallback::cluster(weighted.filter_map(|share| Some((share.cluster.as_ref()?, share.weight, share.fallback))))
    }

    /// Where the request names its server and the route another name, that one is looked up.
    pub(super) fn look_up(&self, effects: &Effects, envoy: &mut Route) {
        let Some(share) = self.0.iter().find(|share| share.by_request) else { return };
        let of_rule = effects.rewrite.as_ref().and_then(|rewrite| rewrite.hostname.as_deref());
        let Some(host) = of_rule.or_else(|| share.host()) else { return };
        let (name, order) = dynamic::order(host);
        envoy.typed_per_filter_config.insert(name.to_owned(), order);
    }

    /// What the filters of a backend that stands alone ask of its route.
    pub(super) fn apply_alone(&self, prefix: Option<&str>, action: &mut RouteAction) {
        let mut weighted = self.0.iter().filter(|share| share.weight > 0);
        if let (Some(share), None) = (weighted.next(), weighted.next()) {
            share.effects.apply_to_action(prefix, action);
        }
    }

    pub(super) fn action(&self, edit: impl FnOnce(&mut RouteAction)) -> Action {
        let weighted: Vec<&Share> = self.0.iter().filter(|share| share.weight > 0).collect();
        let Some(first) = weighted.first() else { return answer(500) };
        if weighted.iter().all(|share| share.cluster.is_none()) {
            return answer(500);
        }
        let name = |share: &Share| share.cluster.as_ref().map_or(UNRESOLVED_CLUSTER.to_owned(), ToString::to_string);
        let target = if let Some(together) = self.taking_over() {
            ClusterSpecifier::Cluster(together.to_string())
        } else if weighted.len() == 1 && first.is_bare() {
            ClusterSpecifier::Cluster(name(first))
        } else {
            let clusters = weighted.iter().map(|share| {
                let headers = &share.effects.headers;
                let host = share.host().filter(|_| weighted.len() > 1);
                share.wishes.put_on(ClusterWeight {
                    name: name(share),
                    weight: Some(uint32(share.weight)),
                    request_headers_to_add: headers.request_add.clone(),
                    request_headers_to_remove: headers.request_remove.clone(),
                    response_headers_to_add: headers.response_add.clone(),
                    response_headers_to_remove: headers.response_remove.clone(),
                    host_rewrite_specifier: host.map(|host| HostRewriteLiteral(host.to_owned())),
                    ..ClusterWeight::default()
                })
            });
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: clusters.collect(),
                ..WeightedCluster::default()
            })
        };
        let mut action = RouteAction {
            cluster_specifier: Some(target),
            cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError as i32,
            // A model may stream for minutes: only the user limits a request as a whole.
            timeout: Some(seconds(0)),
            upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() }],
            ..RouteAction::default()
        };
        edit(&mut action);
        Action::Route(action)
    }
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
