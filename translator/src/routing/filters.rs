//! What a rule changes about its requests and answers.

use kinds::envoy_gateway::CookieMatch;
use kinds::gateway::{
    HttpHeaderFilter, HttpPathModifier, HttpRequestMirrorFilter, HttpRequestRedirectFilter, HttpRouteFilter,
    HttpRouteFilterType, HttpUrlRewriteFilter,
};
use kinds::{FieldPath, Object};
use xds_api::any;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use xds_api::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use xds_api::envoy::config::route::v3::route_action::{HostRewriteSpecifier, RequestMirrorPolicy};
use xds_api::envoy::config::route::v3::{DirectResponseAction, RedirectAction, Route, RouteAction};
use xds_api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use xds_api::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use xds_api::google::protobuf::Any;

use super::backends;
use super::matches::regex;
use crate::attach::{PlannedListener, Protocol};
use crate::engine::View;
use crate::names::{ClusterId, SecretId};
use crate::render::build::header;
use crate::render::filters::CORS;

/// A filter that cannot be had: the rule answers 500, since leaving it out would let through what it was to stop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    /// A reason of the `Accepted` or `ResolvedRefs` condition.
    pub condition: &'static str,
    pub reason: &'static str,
    pub message: String,
    pub path: FieldPath,
}

/// The effect of a rule's filters, gathered before there is a route to put them on.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub headers: HeaderEdits,
    pub redirect: Option<HttpRequestRedirectFilter>,
    pub rewrite: Option<HttpUrlRewriteFilter>,
    pub mirrors: Vec<RequestMirrorPolicy>,
    /// Orders for installed filters, by their names.
    pub orders: Vec<(&'static str, Any)>,
    pub cors: bool,
    /// An answer in the place of a backend's.
    pub answer: Option<DirectResponseAction>,
    pub regex_rewrite: Option<RegexMatchAndSubstitute>,
    pub host: Option<HostRewriteSpecifier>,
    /// What the host was is told in a header.
    pub tells_host: bool,
    pub clusters: Vec<ClusterId>,
    pub secrets: Vec<SecretId>,
    /// Cookies of which a request must have one whole set; empty where it needs none.
    pub cookies: Vec<Vec<CookieMatch>>,
}

/// Headers to set, add and remove, on the way in and out.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
}

impl HeaderEdits {
    fn request(&mut self, filter: &HttpHeaderFilter) {
        self.request_add.extend(edits(filter));
        self.request_remove.extend(filter.remove.iter().map(|name| name.to_ascii_lowercase()));
    }

    fn response(&mut self, filter: &HttpHeaderFilter) {
        self.response_add.extend(edits(filter));
        self.response_remove.extend(filter.remove.iter().map(|name| name.to_ascii_lowercase()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.request_add.is_empty()
            && self.request_remove.is_empty()
            && self.response_add.is_empty()
            && self.response_remove.is_empty()
    }
}

/// The effect of the filters of one backend. A share of several can change headers and the host, and no more: what else
/// Envoy can do, it does to a route as a whole, which a backend that stands alone has for itself.
pub(super) fn of_backend(
    route: &Object,
    filters: &[HttpRouteFilter],
    owner: &FieldPath,
    alone: bool,
    http2: bool,
    view: &View<'_>,
) -> Result<Effects, Refused> {
    let effects = Effects::gather(route, filters, owner, http2, view)?;
    let rewrites_path = effects.rewrite.as_ref().is_some_and(|rewrite| rewrite.path.is_some());
    let concerns_route = rewrites_path
        || !effects.mirrors.is_empty()
        || effects.regex_rewrite.is_some()
        || effects.host.is_some()
        || effects.tells_host;
    let concerns_rule = effects.redirect.is_some()
        || effects.answer.is_some()
        || !effects.orders.is_empty()
        || !effects.cookies.is_empty();
    let message = match (concerns_rule, concerns_route && !alone) {
        (true, _) => "this is done for a rule as a whole: write the filter into the rule",
        (false, true) => "one of several backends can have its own headers and hostname, not its own path or mirror",
        (false, false) => return Ok(effects),
    };
    let path = owner.field("filters");
    Err(Refused { condition: "Accepted", reason: "UnsupportedValue", message: message.to_owned(), path })
}

pub(super) fn edits(filter: &HttpHeaderFilter) -> impl Iterator<Item = HeaderValueOption> + '_ {
    let set =
        filter.set.iter().map(|h| header(&h.name, &literal(&h.value), HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = filter.add.iter().map(|h| header(&h.name, &literal(&h.value), HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add)
}

/// Envoy refuses such an edit, and the whole table with it.
fn touches_host(filter: &HttpHeaderFilter) -> bool {
    let written = filter.set.iter().chain(&filter.add).map(|header| &header.name).chain(&filter.remove);
    written.into_iter().any(|name| name.eq_ignore_ascii_case("host"))
}

/// A value that Envoy takes as it stands: `%` would start a command.
pub(crate) fn literal(value: &str) -> String {
    value.replace('%', "%%")
}

impl Effects {
    /// What the `filters` of a rule or a backend do.
    pub(crate) fn gather(
        route: &Object,
        filters: &[HttpRouteFilter],
        owner: &FieldPath,
        http2: bool,
        view: &View<'_>,
    ) -> Result<Self, Refused> {
        let mut effects = Self::default();
        for (index, filter) in filters.iter().enumerate() {
            effects.take(route, filter, &owner.field("filters").index(index), http2, view)?;
        }
        Ok(effects)
    }

    fn take(
        &mut self,
        route: &Object,
        filter: &HttpRouteFilter,
        path: &FieldPath,
        http2: bool,
        view: &View<'_>,
    ) -> Result<(), Refused> {
        match filter.kind {
            HttpRouteFilterType::RequestHeaderModifier => {
                if filter.request_header_modifier.iter().any(touches_host) {
                    return Err(Refused {
                        condition: "Accepted",
                        reason: "UnsupportedValue",
                        message: "the Host header is not edited as a header: use URLRewrite with hostname".to_owned(),
                        path: path.field("requestHeaderModifier"),
                    });
                }
                filter.request_header_modifier.iter().for_each(|edit| self.headers.request(edit));
            }
            HttpRouteFilterType::ResponseHeaderModifier => {
                filter.response_header_modifier.iter().for_each(|edit| self.headers.response(edit));
            }
            HttpRouteFilterType::RequestRedirect => self.redirect.clone_from(&filter.request_redirect),
            HttpRouteFilterType::UrlRewrite => self.rewrite.clone_from(&filter.url_rewrite),
            HttpRouteFilterType::RequestMirror => {
                let Some(mirror) = &filter.request_mirror else { return Ok(()) };
                let path = path.field("requestMirror").field("backendRef");
                match backends::resolve(route, path.as_str(), &mirror.backend_ref, http2, view) {
                    Ok(cluster) => {
                        self.mirrors.push(mirror_policy(mirror, &cluster));
                        self.clusters.push(cluster);
                    }
                    // A copy that cannot be sent is not sent: the request itself is answered all the same.
                    Err(_) => return Ok(()),
                }
            }
            HttpRouteFilterType::Cors => {
                if let Some(cors) = &filter.cors {
                    self.cors = true;
                    self.orders.push((CORS, any(&super::cors::policy(cors))));
                }
            }
            HttpRouteFilterType::ExtensionRef => {
                return super::extension::take(self, route, path, view);
            }
            HttpRouteFilterType::ExternalAuth => {
                let Some(auth) = &filter.external_auth else { return Ok(()) };
                return super::external_auth::take(self, route, auth, &path.field("externalAuth"), view);
            }
            HttpRouteFilterType::Unknown => {
                return Err(Refused {
                    condition: "Accepted",
                    reason: "UnsupportedValue",
                    message: format!("filters of type {} are not supported", filter.kind.name()),
                    path: path.field("type"),
                });
            }
        }
        Ok(())
    }

    /// Puts the effects that concern any answer on a route.
    pub(crate) fn apply(&self, envoy: &mut Route) {
        envoy.request_headers_to_add.clone_from(&self.headers.request_add);
        envoy.request_headers_to_remove.clone_from(&self.headers.request_remove);
        envoy.response_headers_to_add.clone_from(&self.headers.response_add);
        envoy.response_headers_to_remove.extend(self.headers.response_remove.iter().cloned());
        let orders = self.orders.iter().map(|(name, order)| ((*name).to_owned(), order.clone()));
        envoy.typed_per_filter_config.extend(orders);
    }

    /// Puts the effects that concern forwarding on an action.
    pub(crate) fn apply_to_action(&self, prefix: Option<&str>, action: &mut RouteAction) {
        action.request_mirror_policies.extend(self.mirrors.iter().cloned());
        if self.regex_rewrite.is_some() {
            action.regex_rewrite.clone_from(&self.regex_rewrite);
        }
        if self.host.is_some() {
            action.host_rewrite_specifier.clone_from(&self.host);
        }
        action.append_x_forwarded_host |= self.tells_host;
        let Some(rewrite) = &self.rewrite else { return };
        if let Some(host) = &rewrite.hostname {
            action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(host.to_string()));
        }
        match path_change(rewrite.path.as_ref(), prefix) {
            Some(PathChange::Prefix(replacement)) => action.prefix_rewrite = replacement,
            Some(PathChange::Regex(substitution)) => action.regex_rewrite = Some(substitution),
            Some(PathChange::Full(path)) => action.regex_rewrite = Some(whole_path(&path)),
            None => {}
        }
    }
}

enum PathChange {
    Full(String),
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// How a prefix is replaced so that exactly one slash joins the replacement and what follows.
fn path_change(modifier: Option<&HttpPathModifier>, prefix: Option<&str>) -> Option<PathChange> {
    let modifier = modifier?;
    if let Some(path) = &modifier.replace_full_path {
        return Some(PathChange::Full(path.to_string()));
    }
    let replacement = modifier.replace_prefix_match.as_ref()?.trim_end_matches('/');
    let prefix = prefix?.trim_end_matches('/');
    Some(match (prefix.is_empty(), replacement.is_empty()) {
        // `/foo/bar` without `/foo` is `/bar`, and `/foo` itself is `/`.
        (false, true) => PathChange::Regex(RegexMatchAndSubstitute {
            pattern: Some(regex(&format!("^{}/*", escape(prefix)))),
            substitution: "/".to_owned(),
        }),
        (true, true) => PathChange::Prefix("/".to_owned()),
        (true, false) => PathChange::Prefix(format!("{replacement}/")),
        (false, false) => PathChange::Prefix(replacement.to_owned()),
    })
}

/// The path is replaced and the query kept.
fn whole_path(path: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(regex("^/.*$")),
        // A backslash would refer to a group.
        substitution: path.replace('\\', "\\\\"),
    }
}

fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        if !(character.is_ascii_alphanumeric() || matches!(character, '/' | '-' | '_')) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

pub(crate) fn redirect(
    filter: &HttpRequestRedirectFilter,
    prefix: Option<&str>,
    listener: &PlannedListener,
) -> RedirectAction {
    let own_scheme = if listener.protocol == Protocol::Https { "https" } else { "http" };
    let scheme = filter.scheme.as_deref().unwrap_or(own_scheme);
    let usual = if scheme == "https" { 443 } else { 80 };
    // Without a port the scheme decides, and without a scheme the listener: its port stays in the address.
    let port = filter.port.unwrap_or(if filter.scheme.is_some() { usual } else { listener.port.number });
    let mut action = RedirectAction {
        host_redirect: filter.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
        port_redirect: if port == usual && filter.port.is_none() { 0 } else { u32::from(port) },
        response_code: match filter.status_code {
            301 => RedirectResponseCode::MovedPermanently,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::Found,
        } as i32,
        ..RedirectAction::default()
    };
    if let Some(scheme) = &filter.scheme {
        action.scheme_rewrite_specifier = Some(SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string()));
    }
    action.path_rewrite_specifier = path_change(filter.path.as_ref(), prefix).map(|change| match change {
        PathChange::Full(path) => PathRewriteSpecifier::PathRedirect(path),
        PathChange::Prefix(replacement) => PathRewriteSpecifier::PrefixRewrite(replacement),
        PathChange::Regex(substitution) => PathRewriteSpecifier::RegexRewrite(substitution),
    });
    action
}

fn mirror_policy(mirror: &HttpRequestMirrorFilter, cluster: &ClusterId) -> RequestMirrorPolicy {
    let share = match (mirror.percent, &mirror.fraction) {
        (Some(percent), _) => {
            Some(FractionalPercent { numerator: percent, denominator: DenominatorType::Hundred as i32 })
        }
        (None, Some(fraction)) => {
            let millions = u64::from(fraction.numerator) * 1_000_000 / u64::from(fraction.denominator.max(1));
            let numerator = u32::try_from(millions).unwrap_or(1_000_000);
            Some(FractionalPercent { numerator, denominator: DenominatorType::Million as i32 })
        }
        (None, None) => None,
    };
    RequestMirrorPolicy {
        cluster: cluster.to_string(),
        runtime_fraction: share.map(|default_value| RuntimeFractionalPercent {
            default_value: Some(default_value),
            runtime_key: String::new(),
        }),
        ..RequestMirrorPolicy::default()
    }
}
