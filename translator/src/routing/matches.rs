//! Which requests a rule is for.

use std::cmp::Reverse;

use kinds::Object;
use kinds::envoy_gateway::{CookieMatch, CookieMatchType};
use kinds::gateway::{HeaderMatchType, HttpHeaderMatch, HttpRouteMatch, PathMatchType, QueryParamMatchType};
use xds_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use xds_api::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::{CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteMatch};
use xds_api::envoy::r#type::matcher::v3::{
    ListMatcher, RegexMatcher, StringMatcher, ValueMatcher, list_matcher, string_matcher::MatchPattern, value_matcher,
};

use super::precedence::{PathRank, Precedence};

pub(crate) fn exactly(value: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ..StringMatcher::default() }
}

/// A pattern that is none would be refused by Envoy, and its whole table with it: it matches nothing instead.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    let pattern = if regex::Regex::new(pattern).is_ok() { pattern } else { MATCHES_NOTHING };
    RegexMatcher { regex: pattern.to_owned(), ..RegexMatcher::default() }
}

const MATCHES_NOTHING: &str = r"[^\s\S]";

pub(crate) fn by_regex(pattern: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex(pattern))), ..StringMatcher::default() }
}

pub(crate) fn exactly_any_case(value: &str) -> StringMatcher {
    StringMatcher { ignore_case: true, ..exactly(value) }
}

pub(crate) fn is_text(value: &str) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::StringMatch(exactly(value))) }
}

/// A list of texts that has the value among them.
pub(crate) fn one_of_texts(value: &str) -> ValueMatcher {
    let list = ListMatcher { match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(is_text(value)))) };
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::ListMatch(Box::new(list))) }
}

/// A text as a regular expression that matches nothing else.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if !(character.is_ascii_alphanumeric() || matches!(character, '/' | '-' | '_') || !character.is_ascii()) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

pub(crate) fn header(name: &str, value: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..HeaderMatcher::default()
    }
}

/// The Envoy match of one entry of `matches`, and its precedence.
pub(crate) fn http(route: &Object, rule: usize, index: usize, written: &HttpRouteMatch) -> (RouteMatch, Precedence) {
    let mut precedence = Precedence::of(route, rule, index);
    let mut envoy = RouteMatch::default();
    let path = &written.path;
    let (specifier, rank) = match path.kind {
        PathMatchType::Exact => (PathSpecifier::Path(path.value.to_string()), PathRank::Exact),
        PathMatchType::PathPrefix => (prefix(&path.value), PathRank::Prefix),
        PathMatchType::RegularExpression => (PathSpecifier::SafeRegex(regex(&path.value)), PathRank::Regex),
    };
    envoy.path_specifier = Some(specifier);
    precedence.path = rank;
    precedence.path_length = Reverse(path.value.chars().count());
    if let Some(method) = &written.method {
        precedence.without_method = false;
        envoy.headers.push(header(":method", exactly(method.as_str())));
    }
    envoy.headers.extend(headers(&written.headers));
    precedence.headers = Reverse(written.headers.len());
    precedence.query = Reverse(written.query_params.len());
    envoy.query_parameters = written
        .query_params
        .iter()
        .map(|param| {
            let value = match param.kind {
                QueryParamMatchType::Exact => exactly(&param.value),
                QueryParamMatchType::RegularExpression => by_regex(&param.value),
            };
            QueryParameterMatcher {
                name: param.name.to_string(),
                query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(value)),
            }
        })
        .collect();
    (envoy, precedence)
}

/// A cookie counts like a header where rules are weighed.
pub(super) fn with_cookies(written: &[CookieMatch], envoy: &mut RouteMatch, precedence: &mut Precedence) {
    precedence.headers = Reverse(precedence.headers.0 + written.len());
    envoy.cookies.extend(written.iter().map(|cookie| CookieMatcher {
        name: cookie.name.to_string(),
        string_match: Some(match cookie.kind {
            CookieMatchType::Exact => exactly(&cookie.value),
            CookieMatchType::RegularExpression => by_regex(&cookie.value),
        }),
        ..CookieMatcher::default()
    }));
}

/// The first of several matches of one header counts; names are compared without case.
pub(crate) fn headers(written: &[HttpHeaderMatch]) -> Vec<HeaderMatcher> {
    let mut seen = std::collections::BTreeSet::new();
    let first = written.iter().filter(|header| seen.insert(header.name.to_ascii_lowercase()));
    let matcher = |written: &HttpHeaderMatch| {
        let value = match written.kind {
            HeaderMatchType::Exact => exactly(&written.value),
            HeaderMatchType::RegularExpression => by_regex(&written.value),
        };
        header(&written.name.to_ascii_lowercase(), value)
    };
    first.map(matcher).collect()
}

/// `/foo` as a prefix means `/foo` and everything below `/foo/`, not `/foobar`.
fn prefix(value: &str) -> PathSpecifier {
    match value.trim_end_matches('/') {
        "" => PathSpecifier::Prefix("/".to_owned()),
        path => PathSpecifier::PathSeparatedPrefix(path.to_owned()),
    }
}
