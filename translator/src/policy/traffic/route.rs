//! What a traffic policy says about a route itself. A rule's own timeouts and retries come first.

use kinds::ObjectId;
use kinds::envoy_gateway::BackendTrafficPolicySpec;
use kinds::envoy_gateway::shared::{
    ConsistentHash, ConsistentHashType, CustomTag, CustomTagType, LoadBalancerType, Retry, Tracing,
};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::route::v3::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use xds_api::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use xds_api::envoy::config::route::v3::route_action::upgrade_config::ConnectConfig;
use xds_api::envoy::config::route::v3::route_action::{HashPolicy, MaxStreamDuration, UpgradeConfig};
use xds_api::envoy::config::route::v3::{RetryPolicy, Route, RouteAction, Tracing as EnvoyTracing};
use xds_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use xds_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use xds_api::envoy::r#type::tracing::v3::{CustomTag as EnvoyTag, custom_tag};
use xds_api::google::protobuf::Duration;

use crate::render::build::{duration, millionths, uint32};

const LOAD_HEADERS: [&str; 2] = ["endpoint-load-metrics", "endpoint-load-metrics-bin"];
const HOST_SELECTIONS: i64 = 5;
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRY_STATUS: u32 = 503;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteSettings {
    timeout: Option<Duration>,
    max_stream_duration: Option<Duration>,
    idle_timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    hash: Vec<HashPolicy>,
    /// Replaces what a route can be upgraded to.
    upgrades: Option<Vec<UpgradeConfig>>,
    tracing: Option<EnvoyTracing>,
    stat_prefix: String,
    response_headers_to_remove: Vec<String>,
}

impl RouteSettings {
    pub(super) fn of(spec: &BackendTrafficPolicySpec) -> Self {
        let http = spec.cluster.timeout.as_ref().and_then(|timeout| timeout.http.as_ref());
        let balancer = spec.cluster.load_balancer.as_ref();
        let by_load = balancer.filter(|balancer| balancer.kind == Some(LoadBalancerType::BackendUtilization));
        let keeps = by_load.is_some_and(|balancer| {
            balancer.backend_utilization.as_ref().is_some_and(|load| load.keep_response_headers == Some(true))
        });
        let telemetry = spec.telemetry.as_ref();
        Self {
            timeout: http.and_then(|http| http.request_timeout).map(|time| duration(time.0)),
            max_stream_duration: http.and_then(|http| http.max_stream_duration).map(|time| duration(time.0)),
            idle_timeout: http.and_then(|http| http.stream_idle_timeout).map(|time| duration(time.0)),
            retry: spec.cluster.retry.as_ref().map(retries),
            hash: balancer.and_then(|balancer| balancer.consistent_hash.as_ref()).map(hash).unwrap_or_default(),
            upgrades: (!spec.http_upgrade.is_empty()).then(|| {
                let upgrade = |written: &kinds::envoy_gateway::HttpUpgrade| UpgradeConfig {
                    upgrade_type: written.kind.to_string(),
                    connect_config: written
                        .connect
                        .as_ref()
                        .filter(|connect| connect.terminate == Some(true))
                        .map(|_| ConnectConfig::default()),
                    ..UpgradeConfig::default()
                };
                spec.http_upgrade.iter().map(upgrade).collect()
            }),
            tracing: telemetry.and_then(|telemetry| telemetry.tracing.as_ref()).map(tracing),
            stat_prefix: telemetry
                .and_then(|telemetry| telemetry.metrics.as_ref()?.route_stat_name.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            response_headers_to_remove: if by_load.is_some() && !keeps {
                LOAD_HEADERS.iter().map(|name| (*name).to_owned()).collect()
            } else {
                Vec::new()
            },
        }
    }

    pub(crate) fn apply(&self, route: &mut Route) {
        route.tracing.clone_from(&self.tracing);
        route.response_headers_to_remove.extend(self.response_headers_to_remove.iter().cloned());
    }

    /// The name under which a route is counted: its operators say of what it is made.
    pub(crate) fn stat_prefix(&self, route: &ObjectId, rule: Option<&str>) -> String {
        self.stat_prefix
            .replace("%ROUTE_NAME%", &route.name)
            .replace("%ROUTE_NAMESPACE%", &route.namespace)
            .replace("%ROUTE_KIND%", route.kind.name())
            .replace("%ROUTE_RULE_NAME%", rule.unwrap_or("-"))
    }

    pub(crate) fn apply_to_action(&self, action: &mut RouteAction) {
        if self.timeout.is_some() {
            action.timeout = self.timeout;
        }
        if let Some(time) = self.max_stream_duration {
            action.max_stream_duration =
                Some(MaxStreamDuration { max_stream_duration: Some(time), ..MaxStreamDuration::default() });
        }
        if self.idle_timeout.is_some() {
            action.idle_timeout = self.idle_timeout;
        }
        if self.retry.is_some() {
            action.retry_policy.clone_from(&self.retry);
        }
        action.hash_policy.extend(self.hash.iter().cloned());
        if let Some(upgrades) = &self.upgrades {
            action.upgrade_configs.clone_from(upgrades);
        }
    }
}

pub(super) fn retry_on(written: &Retry) -> String {
    let asked = written.retry_on.as_ref();
    let mut triggers: Vec<&str> = asked.iter().flat_map(|on| on.triggers.iter().map(SmolStr::as_str)).collect();
    let by_status = asked.is_some_and(|on| !on.http_status_codes.is_empty());
    if triggers.is_empty() && !by_status {
        return RETRY_ON.to_owned();
    }
    if by_status && !triggers.contains(&"retriable-status-codes") {
        triggers.push("retriable-status-codes");
    }
    triggers.join(",")
}

fn retries(written: &Retry) -> RetryPolicy {
    let statuses = written.retry_on.as_ref().map(|on| on.http_status_codes.clone());
    let per_retry = written.per_retry.as_ref();
    RetryPolicy {
        retry_on: retry_on(written),
        num_retries: Some(uint32(written.num_retries.unwrap_or(2))),
        retry_priority: written.num_attempts_per_priority.filter(|attempts| *attempts > 0).map(|update_frequency| {
            RetryPriority {
                name: "envoy.retry_priorities.previous_priorities".to_owned(),
                config_type: Some(retry_priority::ConfigType::TypedConfig(any(&PreviousPrioritiesConfig {
                    update_frequency,
                }))),
            }
        }),
        per_try_timeout: per_retry.and_then(|retry| retry.timeout).map(|time| duration(time.0)),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: HOST_SELECTIONS,
        retriable_status_codes: statuses.unwrap_or_else(|| vec![RETRY_STATUS]),
        retry_back_off: per_retry.and_then(|retry| retry.back_off.as_ref()).and_then(|back_off| {
            Some(RetryBackOff {
                base_interval: Some(duration(back_off.base_interval?.0)),
                max_interval: back_off.max_interval.map(|time| duration(time.0)),
            })
        }),
        ..RetryPolicy::default()
    }
}

fn hash(written: &ConsistentHash) -> Vec<HashPolicy> {
    let policy = |specifier| HashPolicy { policy_specifier: Some(specifier), ..HashPolicy::default() };
    let by_header =
        |name: &SmolStr| policy(PolicySpecifier::Header(Header { header_name: name.to_string(), ..Header::default() }));
    match written.kind {
        Some(ConsistentHashType::Header) => written.header.iter().map(|header| by_header(&header.name)).collect(),
        Some(ConsistentHashType::Headers) => written.headers.iter().map(|header| by_header(&header.name)).collect(),
        Some(ConsistentHashType::QueryParams) => {
            let by_param =
                |name: &SmolStr| policy(PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() }));
            written.query_params.iter().map(|param| by_param(&param.name)).collect()
        }
        Some(ConsistentHashType::Cookie) => {
            let cookie = written.cookie.iter().map(|cookie| {
                policy(PolicySpecifier::Cookie(Cookie {
                    name: cookie.name.to_string(),
                    ttl: cookie.ttl.map(|time| duration(time.0)),
                    attributes: cookie
                        .attributes
                        .iter()
                        .map(|(name, value)| CookieAttribute { name: name.to_string(), value: value.to_string() })
                        .collect(),
                    ..Cookie::default()
                }))
            });
            cookie.collect()
        }
        Some(ConsistentHashType::SourceIp) | None => {
            vec![policy(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }))]
        }
    }
}

pub(crate) fn tracing(written: &Tracing) -> EnvoyTracing {
    let share = |fraction: &kinds::envoy_gateway::shared::Fraction| millionths(fraction.millionths());
    let by_rate = || written.sampling_rate.map(|percent| millionths(percent.min(100) * 10_000));
    let tags = written.custom_tags.iter().filter_map(|(name, tag)| custom_tag(name, tag));
    let formats = written.tags.iter().map(|(name, value)| EnvoyTag {
        tag: name.to_string(),
        r#type: Some(custom_tag::Type::Value(value.to_string())),
        ..EnvoyTag::default()
    });
    EnvoyTracing {
        client_sampling: written.client_sampling_fraction.as_ref().map(share),
        random_sampling: written.sampling_fraction.as_ref().map(share).or_else(by_rate),
        overall_sampling: written.overall_sampling_fraction.as_ref().map(share),
        custom_tags: tags.chain(formats).collect(),
        operation: written.span_name.as_ref().map(|name| name.server.to_string()).unwrap_or_default(),
        upstream_operation: written.span_name.as_ref().map(|name| name.client.to_string()).unwrap_or_default(),
    }
}

fn custom_tag(name: &str, written: &CustomTag) -> Option<EnvoyTag> {
    let text = |value: Option<&SmolStr>| value.map(ToString::to_string).unwrap_or_default();
    let content = match written.kind? {
        CustomTagType::Literal => {
            custom_tag::Type::Literal(custom_tag::Literal { value: written.literal.as_ref()?.value.to_string() })
        }
        CustomTagType::Environment => {
            let tag = written.environment.as_ref()?;
            let default_value = text(tag.default_value.as_ref());
            custom_tag::Type::Environment(custom_tag::Environment { name: tag.name.to_string(), default_value })
        }
        CustomTagType::RequestHeader => {
            let tag = written.request_header.as_ref()?;
            let default_value = text(tag.default_value.as_ref());
            custom_tag::Type::RequestHeader(custom_tag::Header { name: tag.name.to_string(), default_value })
        }
    };
    Some(EnvoyTag { tag: name.to_owned(), r#type: Some(content), ..EnvoyTag::default() })
}
