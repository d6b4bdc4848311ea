//! BackendTrafficPolicy: what a policy, or the merge of two, asks of routes and of the clusters behind them.
//!
//! A policy that says how to connect makes clusters of its own: `service/NS/NAME/PORT/traffic/NS/POLICY`. One that only
//! says how requests behave does not.

mod cluster;
mod filters;
mod health;
mod load_balancer;
mod response_override;
mod route;

use kinds::envoy_gateway::shared::{ClusterSettings, Retry, StringMatchType};
use kinds::envoy_gateway::{AdmissionControl, BackendTrafficPolicySpec, EnvoyProxySpec, SecurityPolicySpec};
use kinds::{FieldPath, Kind, ObjectId};
use xds_api::envoy::config::core::v3::{RetryPolicy, retry_policy};
use xds_api::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use xds_api::google::protobuf::Any;

pub(crate) use cluster::{apply as apply_to_cluster, http2_options};
pub(crate) use load_balancer::zone_weights;
pub(crate) use route::{RouteSettings, tracing};

use super::extension::Written;
use super::limits::{self, Limits};
use super::{Problem, merge};
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{Chain, Settings};
use crate::render::build::{duration, uint32};
use crate::routing::{by_regex, exactly};

pub(super) type Policy<'a> = Written<'a, BackendTrafficPolicySpec>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    /// Not empty: the routes answer 500.
    pub problems: Vec<Problem>,
    /// What makes clusters of the policy's own.
    pub settings: Option<Settings>,
    pub route: RouteSettings,
    pub orders: Vec<(&'static str, Any)>,
    pub limits: Option<Limits>,
}

/// What a policy says about a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClusterPlan {
    pub settings: ClusterSettings,
    pub use_client_protocol: bool,
    pub admission_control: Option<AdmissionControl>,
}

pub(crate) fn evaluate(chain: &Chain, view: &View<'_>) -> Outcome {
    let made = render(chain, view);
    let limited = made.limits.as_ref().is_some_and(|limits| !limits.rules.is_empty());
    let demands = if limited { vec![UnitId::LimitDomain] } else { Vec::new() };
    Outcome { product: Product::Traffic(made.into()), demands, diagnostics: Vec::new() }
}

/// What is wrong with a policy by itself.
pub(crate) fn problems(policy: &ObjectId, view: &View<'_>) -> Vec<Problem> {
    render(&Chain(vec![policy.clone()]), view).problems
}

fn render(chain: &Chain, view: &View<'_>) -> Traffic {
    let mut made = Traffic::default();
    if let Some(policy) = chain.0.first().filter(|policy| policy.kind != Kind::BackendTrafficPolicy) {
        made.limits = limits::of_limiting(policy, view, &mut made.problems);
        return made;
    }
    let Some(policy) = Policy::read(chain, view) else {
        made.problems.push(merge::problem(chain, view));
        return made;
    };
    made.problems.extend(unsupported(&policy.spec));
    made.problems.extend(cluster::problems(&policy.spec.cluster, &FieldPath::spec()));
    if plan_of(&policy.spec) != ClusterPlan::default() {
        made.settings = Some(Settings { chain: chain.clone(), part: "".into() });
    }
    made.route = RouteSettings::of(&policy.spec);
    match filters::orders(&policy) {
        Ok(orders) => made.orders.extend(orders),
        Err(problem) => made.problems.push(problem),
    }
    made.limits = limits::of(chain, view, &mut made.problems);
    if let Some(limits) = &made.limits {
        made.problems.extend(limits.problems(&view.options.limits));
    }
    made
}

fn unsupported(spec: &BackendTrafficPolicySpec) -> Vec<Problem> {
    let mut found = Vec::new();
    if spec.routing_type.as_deref() == Some("Service") {
        let message = "requests go to endpoints: the address of a Service is not used";
        found.push(Problem::unsupported("spec.routingType", message));
    }
    for (index, upgrade) in spec.http_upgrade.iter().enumerate() {
        if upgrade.connect.is_some() && !upgrade.kind.eq_ignore_ascii_case("CONNECT") {
            let path = FieldPath::from("spec.httpUpgrade").index(index).field("connect");
            found.push(Problem::wrong(path, "only an upgrade of type CONNECT can be terminated"));
        }
    }
    found
}

/// What of a policy concerns clusters: retries, and most timeouts, concern routes.
fn plan_of(spec: &BackendTrafficPolicySpec) -> ClusterPlan {
    let mut settings = spec.cluster.clone();
    settings.retry = None;
    if let Some(timeout) = &mut settings.timeout {
        if let Some(http) = &mut timeout.http {
            http.request_timeout = None;
            http.max_stream_duration = None;
            http.stream_idle_timeout = None;
        }
        timeout.http.take_if(|http| *http == <_>::default());
        timeout.tcp.take_if(|tcp| *tcp == <_>::default());
    }
    settings.timeout.take_if(|timeout| *timeout == <_>::default());
    ClusterPlan {
        settings,
        use_client_protocol: spec.use_client_protocol.unwrap_or(false),
        admission_control: spec.admission_control.clone(),
    }
}

/// What was said about a cluster, wherever it was said.
pub(crate) fn plan(settings: &Settings, view: &View<'_>) -> Option<ClusterPlan> {
    let only = |settings: ClusterSettings| ClusterPlan { settings, ..ClusterPlan::default() };
    match settings.chain.kind()? {
        Kind::BackendTrafficPolicy => {
            merge::merged::<BackendTrafficPolicySpec>(&settings.chain, view).map(|spec| plan_of(&spec))
        }
        Kind::SecurityPolicy => {
            let spec = merge::merged::<SecurityPolicySpec>(&settings.chain, view)?;
            let written = match settings.part.as_str() {
                "extAuth.grpc" => spec.ext_auth?.grpc?.backend_settings,
                "extAuth.http" => spec.ext_auth?.http?.backends.backend_settings,
                "oidc.provider" => spec.oidc?.provider.backends.backend_settings,
                part => {
                    let name = part.strip_prefix("jwt.")?;
                    let provider = spec.jwt?.providers.into_iter().find(|provider| provider.name == name)?;
                    provider.remote_jwks?.backends.backend_settings
                }
            };
            written.map(only)
        }
        Kind::EnvoyProxy => {
            let spec = merge::merged::<EnvoyProxySpec>(&settings.chain, view)?;
            super::proxy::backend_settings(&spec, &settings.part).map(only)
        }
        _ => None,
    }
}

pub(crate) fn string_match(kind: Option<StringMatchType>, value: &str) -> StringMatcher {
    let pattern = match kind.unwrap_or(StringMatchType::Exact) {
        StringMatchType::Exact => return exactly(value),
        StringMatchType::RegularExpression => return by_regex(value),
        StringMatchType::Prefix => MatchPattern::Prefix(value.to_owned()),
        StringMatchType::Suffix => MatchPattern::Suffix(value.to_owned()),
    };
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// Retries of what Envoy asks for on its own account.
pub(crate) fn own_retries(written: &Retry) -> RetryPolicy {
    let back_off = written.per_retry.as_ref().and_then(|retry| retry.back_off.as_ref());
    RetryPolicy {
        num_retries: Some(uint32(written.num_retries.unwrap_or(2))),
        retry_on: route::retry_on(written),
        retry_back_off: back_off.and_then(|back_off| {
            Some(xds_api::envoy::config::core::v3::BackoffStrategy {
                base_interval: Some(duration(back_off.base_interval?.0)),
                max_interval: back_off.max_interval.map(|time| duration(time.0)),
            })
        }),
        retry_priority: None::<retry_policy::RetryPriority>,
        ..RetryPolicy::default()
    }
}
