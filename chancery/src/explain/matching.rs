//! Envoy's matching of one route, for the matchers that routes of ours have.

use regex::Regex;
use xds_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use xds_api::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use xds_api::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

use super::Request;

/// Why a route does not take a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Different(String),
    /// A patched route may ask for what is not known of the request here.
    Unknown(&'static str),
}

type Decision = Result<(), Refusal>;

pub(crate) fn route(wanted: &RouteMatch, request: &Request) -> Decision {
    path(wanted, request.path())?;
    for matcher in &wanted.headers {
        header(matcher, request)?;
    }
    for matcher in &wanted.query_parameters {
        query(matcher, request)?;
    }
    if wanted.grpc.is_some() {
        let kind = request.header("content-type").unwrap_or_default();
        let grpc = kind == "application/grpc" || kind.starts_with("application/grpc+");
        check(grpc, || "the content-type is not gRPC's".to_owned())?;
    }
    let unknown = [
        (wanted.runtime_fraction.is_some(), "a fraction of requests"),
        (!wanted.cookies.is_empty(), "cookies"),
        (wanted.tls_context.is_some(), "the client's certificate"),
        (!wanted.dynamic_metadata.is_empty(), "metadata of filters"),
        (!wanted.filter_state.is_empty(), "the state of filters"),
    ];
    match unknown.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Refusal::Unknown(what)),
        None => Ok(()),
    }
}

fn check(holds: bool, reason: impl FnOnce() -> String) -> Decision {
    if holds { Ok(()) } else { Err(Refusal::Different(reason())) }
}

fn path(wanted: &RouteMatch, path: &str) -> Decision {
    let sensitive = wanted.case_sensitive.as_ref().is_none_or(|sensitive| sensitive.value);
    let fold = |text: &str| if sensitive { text.to_owned() } else { text.to_ascii_lowercase() };
    let path = fold(path);
    match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => {
            check(path.starts_with(&fold(prefix)), || format!("the path does not begin with {prefix}"))
        }
        Some(PathSpecifier::Path(exact)) => check(path == fold(exact), || format!("the path is not {exact}")),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let rest = path.strip_prefix(&fold(prefix));
            check(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), || {
                format!("the path is neither {prefix} nor below it")
            })
        }
        Some(PathSpecifier::SafeRegex(pattern)) => {
            check(full_match(pattern, &path)?, || format!("the path does not match {}", pattern.regex))
        }
        Some(PathSpecifier::ConnectMatcher(_)) => Err(Refusal::Different("it takes CONNECT only".to_owned())),
        Some(PathSpecifier::PathMatchPolicy(_)) => Err(Refusal::Unknown("a path policy")),
        None => Err(Refusal::Different("it matches no path".to_owned())),
    }
}

fn header(matcher: &HeaderMatcher, request: &Request) -> Decision {
    let name = &matcher.name;
    let value = request.header(name);
    let value = if matcher.treat_missing_header_as_empty { Some(value.unwrap_or_default()) } else { value };
    let (holds, wanted) = match (&matcher.header_match_specifier, &value) {
        (None, value) => (value.is_some(), "be there".to_owned()),
        (Some(HeaderMatchSpecifier::PresentMatch(present)), value) => {
            (value.is_some() == *present, if *present { "be there" } else { "be missing" }.to_owned())
        }
        // A missing header matches no text, and is not what an inverted match asks for either.
        (Some(_), None) => return Err(Refusal::Different(format!("{} is missing", called(name)))),
        (Some(HeaderMatchSpecifier::StringMatch(wanted)), Some(value)) => (text(wanted, value)?, described(wanted)),
        (Some(_), Some(_)) => return Err(Refusal::Unknown("a header in a way of its own")),
    };
    let not = if matcher.invert_match { " not" } else { "" };
    check(holds != matcher.invert_match, || format!("{} has{not} to {wanted}", called(name)))
}

fn called(header: &str) -> String {
    match header {
        ":method" => "the method".to_owned(),
        ":authority" => "the host".to_owned(),
        header => format!("header {header}"),
    }
}

fn query(matcher: &QueryParameterMatcher, request: &Request) -> Decision {
    let name = &matcher.name;
    let value = request.query(name);
    match (&matcher.query_parameter_match_specifier, value) {
        (Some(QueryParameterMatchSpecifier::PresentMatch(false)), value) => {
            check(value.is_none(), || format!("parameter {name} has to be missing"))
        }
        (_, None) => Err(Refusal::Different(format!("parameter {name} is missing"))),
        (Some(QueryParameterMatchSpecifier::StringMatch(wanted)), Some(value)) => {
            check(text(wanted, value)?, || format!("parameter {name} has to {}", described(wanted)))
        }
        (Some(QueryParameterMatchSpecifier::PresentMatch(true)) | None, Some(_)) => Ok(()),
    }
}

fn text(wanted: &StringMatcher, value: &str) -> Result<bool, Refusal> {
    let fold = |text: &str| if wanted.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let folded = fold(value);
    Ok(match &wanted.match_pattern {
        Some(MatchPattern::Exact(exact)) => folded == fold(exact),
        Some(MatchPattern::Prefix(prefix)) => folded.starts_with(&fold(prefix)),
        Some(MatchPattern::Suffix(suffix)) => folded.ends_with(&fold(suffix)),
        Some(MatchPattern::Contains(part)) => folded.contains(&fold(part)),
        // Expressions say themselves whether case counts.
        Some(MatchPattern::SafeRegex(pattern)) => full_match(pattern, value)?,
        Some(MatchPattern::Custom(_)) | None => return Err(Refusal::Unknown("a matcher of its own")),
    })
}

fn described(wanted: &StringMatcher) -> String {
    match &wanted.match_pattern {
        Some(MatchPattern::Exact(exact)) => format!("be {exact}"),
        Some(MatchPattern::Prefix(prefix)) => format!("begin with {prefix}"),
        Some(MatchPattern::Suffix(suffix)) => format!("end with {suffix}"),
        Some(MatchPattern::Contains(part)) => format!("contain {part}"),
        Some(MatchPattern::SafeRegex(pattern)) => format!("match {}", pattern.regex),
        Some(MatchPattern::Custom(_)) | None => "pass a matcher of its own".to_owned(),
    }
}

/// Envoy's expressions are RE2's and match the whole of a text.
fn full_match(pattern: &RegexMatcher, value: &str) -> Result<bool, Refusal> {
    let whole = Regex::new(&format!("^(?:{})$", pattern.regex));
    whole.map(|whole| whole.is_match(value)).map_err(|_| Refusal::Unknown("an expression that only Envoy understands"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: PathSpecifier, request: &str) -> Option<String> {
        let wanted = RouteMatch { path_specifier: Some(path), ..RouteMatch::default() };
        match route(&wanted, &Request::new(80, "a", "GET", request)) {
            Ok(()) => None,
            Err(Refusal::Different(reason)) => Some(reason),
            Err(Refusal::Unknown(what)) => Some(what.to_owned()),
        }
    }

    #[test]
    fn a_path_prefix_ends_at_a_slash() {
        let prefix = || PathSpecifier::PathSeparatedPrefix("/foo".to_owned());
        assert_eq!(reason(prefix(), "/foo"), None);
        assert_eq!(reason(prefix(), "/foo/bar?x=1"), None);
        assert_eq!(reason(prefix(), "/foobar").as_deref(), Some("the path is neither /foo nor below it"));
    }

    #[test]
    fn an_expression_matches_the_whole_path() {
        let regex = || PathSpecifier::SafeRegex(RegexMatcher { regex: "/v[0-9]|/w".into(), ..RegexMatcher::default() });
        assert_eq!(reason(regex(), "/v1"), None);
        assert!(reason(regex(), "/v1/more").is_some());
        assert!(reason(regex(), "/x/w").is_some());
    }

    #[test]
    fn a_missing_header_matches_neither_a_text_nor_its_opposite() {
        let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact("a".into())), ..StringMatcher::default() };
        for invert_match in [false, true] {
            let matcher = HeaderMatcher {
                name: "x-a".into(),
                invert_match,
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact.clone())),
                ..HeaderMatcher::default()
            };
            assert!(header(&matcher, &Request::new(80, "a", "GET", "/")).is_err());
        }
    }
}
