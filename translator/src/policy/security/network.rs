//! What a policy means for connections of which nothing is known but where they come from.
//!
//! Keys, tokens and logins are for requests. A policy about a Gateway that has nothing but those leaves the Gateway's
//! connections alone; one about a TCPRoute that asks for what a connection cannot show closes it.

use kinds::Kind;
use kinds::envoy_gateway::{Authorization, AuthorizationAction, AuthorizationRule, SecurityPolicySpec};
use xds_api::any;
use xds_api::envoy::config::listener::v3::{Filter, filter};
use xds_api::envoy::config::rbac::v3::{Action, rbac};
use xds_api::envoy::extensions::filters::network::rbac::v3::Rbac;
use xds_api::google::protobuf::Any;

use super::cidr;
use crate::render::matcher;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Connections {
    #[default]
    Open,
    /// By a filter that knows addresses.
    Guarded(Any),
    Closed,
}

impl Connections {
    pub(super) fn of(spec: &SecurityPolicySpec) -> Self {
        let of_requests = spec.api_key_auth.is_some()
            || spec.basic_auth.is_some()
            || spec.jwt.is_some()
            || spec.oidc.is_some()
            || spec.ext_auth.is_some();
        let targets = &spec.targets;
        let kinds = targets.target_refs.iter().chain(&targets.target_ref).map(|target| target.kind.as_str());
        let kinds = kinds.chain(targets.target_selectors.iter().map(|selector| selector.kind.as_str()));
        let own = kinds.into_iter().any(|kind| kind == Kind::TcpRoute.name());
        match &spec.authorization {
            None if own && of_requests => Self::Closed,
            None => Self::Open,
            Some(_) if own && of_requests => Self::Closed,
            Some(written) => rules(written).map_or(Self::Closed, Self::Guarded),
        }
    }
}

fn rules(written: &Authorization) -> Option<Any> {
    let action = |name: &str, allow| {
        let action = if allow { rbac::Action::Allow } else { rbac::Action::Deny };
        any(&Action { name: name.to_owned(), action: action as i32 })
    };
    let rule = |rule: &AuthorizationRule| {
        let by_address = rule.operation.is_none() && rule.cel.is_none();
        let principal = rule.principal.as_ref().filter(|principal| {
            by_address
                && principal.jwt.is_none()
                && principal.headers.is_empty()
                && principal.client_ip_geo_locations.is_empty()
                && !principal.client_cidrs.is_empty()
        })?;
        let ranges: Option<Vec<_>> = principal.client_cidrs.iter().map(|range| cidr(range)).collect();
        let allow = rule.action == Some(AuthorizationAction::Allow);
        Some((matcher::client_in(ranges?), action(rule.name.as_deref().unwrap_or("rule"), allow)))
    };
    let rules: Option<Vec<_>> = written.rules.iter().map(rule).collect();
    let otherwise = action("default", super::authorization::allows_by_default(written));
    let config = Rbac {
        stat_prefix: "authorization".to_owned(),
        matcher: Some(matcher::first_of(rules?, Some(otherwise))),
        ..Rbac::default()
    };
    Some(any(&config))
}

pub(crate) fn filter(config: &Any) -> Filter {
    Filter {
        name: "envoy.filters.network.rbac".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(config.clone())),
    }
}
