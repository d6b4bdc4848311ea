//! What a request has to be like for a rule to count it, and what tells one counter of the rule from another.
//!
//! A condition is one action of Envoy's, which makes one entry of a descriptor or, where it does not hold, none at all.
//! *Invariant*: what users write never becomes a key, nor a value of the service's configuration, where `_` and `*` mean
//! something; it stays in Envoy's matchers, and what clients send only ever becomes a value.

use kinds::FieldPath;
use kinds::ai::MODEL_HEADER;
use kinds::envoy_gateway::{
    RateLimitHeader, RateLimitMatch, RateLimitMethod, RateLimitPath, RateLimitPathMatch, RateLimitSelector,
    RateLimitSource, RateLimitSourceMatch,
};
use xds_api::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use xds_api::envoy::config::route::v3::rate_limit::Action;
use xds_api::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MetaData, QueryParameterValueMatch, QueryParameters,
    RemoteAddressMatch, RequestHeaders,
};
use xds_api::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use xds_api::envoy::r#type::matcher::v3::{AddressMatcher, StringMatcher};
use xds_api::envoy::r#type::metadata::v3::MetadataKey;
use xds_api::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment::Segment};
use xds_api::xds::core::v3::CidrRange;

use crate::policy::Problem;
use crate::policy::security::cidr;
use crate::render::build::{boolean, uint32};
use crate::routing::{by_regex, exactly, matching, quoted};

/// The value of an entry that says nothing but that its condition held.
const HELD: &str = "yes";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    /// All of these headers; method and path are headers too.
    Headers(Vec<HeaderMatcher>),
    /// Not this header, which may be absent.
    NoHeader(Box<HeaderMatcher>),
    Query(Vec<QueryParameterMatcher>),
    NoQuery(Box<QueryParameterMatcher>),
    Source {
        ranges: AddressMatcher,
        each: bool,
    },
    EachHeader(String),
    EachModel,
    EachQuery(String),
}

impl Condition {
    /// The key of the entry, and its value where it is always the same.
    pub(crate) fn entry(&self) -> (String, Option<&'static str>) {
        match self {
            Self::Headers(_) => ("match".to_owned(), Some(HELD)),
            Self::NoHeader(_) => ("unless".to_owned(), Some(HELD)),
            Self::Query(_) => ("query".to_owned(), Some(HELD)),
            Self::NoQuery(_) => ("unless-query".to_owned(), Some(HELD)),
            Self::Source { each: false, .. } => ("source".to_owned(), Some(HELD)),
            Self::Source { each: true, .. } => ("address".to_owned(), None),
            Self::EachHeader(name) => (format!("header {}", without_joint(name)), None),
            Self::EachModel => ("model".to_owned(), None),
            Self::EachQuery(name) => (format!("query {}", without_joint(name)), None),
        }
    }

    pub(crate) fn action(&self) -> Action {
        let (key, value) = self.entry();
        let value = value.unwrap_or_default().to_owned();
        let matched = |headers: Vec<HeaderMatcher>, expected| {
            ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
                descriptor_key: key.clone(),
                descriptor_value: value.clone(),
                expect_match: Some(boolean(expected)),
                headers,
                ..HeaderValueMatch::default()
            })
        };
        let queried = |query_parameters: Vec<QueryParameterMatcher>, expected| {
            ActionSpecifier::QueryParameterValueMatch(QueryParameterValueMatch {
                descriptor_key: key.clone(),
                descriptor_value: value.clone(),
                expect_match: Some(boolean(expected)),
                query_parameters,
                ..QueryParameterValueMatch::default()
            })
        };
        let specifier = match self {
            Self::Headers(headers) => matched(headers.clone(), true),
            Self::NoHeader(header) => matched(vec![header.as_ref().clone()], false),
            Self::Query(params) => queried(params.clone(), true),
            Self::NoQuery(param) => queried(vec![param.as_ref().clone()], false),
            Self::Source { ranges, each } => {
                let address = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned();
                ActionSpecifier::RemoteAddressMatch(RemoteAddressMatch {
                    descriptor_key: key,
                    descriptor_value: if *each { address } else { value },
                    address_matcher: Some(ranges.clone()),
                    ..RemoteAddressMatch::default()
                })
            }
            Self::EachHeader(name) => ActionSpecifier::RequestHeaders(RequestHeaders {
                header_name: name.clone(),
                descriptor_key: key,
                skip_if_absent: false,
            }),
            Self::EachQuery(name) => ActionSpecifier::QueryParameters(QueryParameters {
                query_parameter_name: name.clone(),
                descriptor_key: key,
                skip_if_absent: false,
            }),
            Self::EachModel => ActionSpecifier::Metadata(MetaData {
                descriptor_key: key,
                metadata_key: Some(metadata_key(crate::ai::METADATA, "model")),
                ..MetaData::default()
            }),
        };
        Action { action_specifier: Some(specifier) }
    }
}

pub(super) fn generic(key: &str, value: &str) -> Action {
    let generic =
        GenericKey { descriptor_key: key.to_owned(), descriptor_value: value.to_owned(), ..GenericKey::default() };
    Action { action_specifier: Some(ActionSpecifier::GenericKey(generic)) }
}

pub(super) fn metadata_key(namespace: &str, key: &str) -> MetadataKey {
    let path = vec![PathSegment { segment: Some(Segment::Key(key.to_owned())) }];
    MetadataKey { key: namespace.to_owned(), path }
}

/// The stock service joins keys and values by `_`.
fn without_joint(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The conditions of a rule: all its selectors together.
pub(super) fn of(selectors: &[RateLimitSelector], base: &FieldPath) -> Result<Vec<Condition>, Problem> {
    let mut headers = Vec::new();
    let mut query = Vec::new();
    let mut rest = Vec::new();
    for (index, selector) in selectors.iter().enumerate() {
        let base = base.index(index);
        for (at, written) in selector.headers.iter().enumerate() {
            header(written, &base.field("headers").index(at), &mut headers, &mut rest)?;
        }
        method(&selector.methods, &base.field("methods"), &mut headers)?;
        if let Some(written) = &selector.path {
            path(written, &base.field("path"), &mut headers, &mut rest)?;
        }
        for (at, written) in selector.query_params.iter().enumerate() {
            param(written, &base.field("queryParams").index(at), &mut query, &mut rest)?;
        }
        if let Some(written) = &selector.source_cidr {
            rest.push(source(written, &base.field("sourceCIDR"))?);
        }
    }
    let mut all = Vec::new();
    if !headers.is_empty() {
        all.push(Condition::Headers(headers));
    }
    if !query.is_empty() {
        all.push(Condition::Query(query));
    }
    all.extend(rest);
    Ok(all)
}

fn pattern(text: &str, path: &FieldPath) -> Result<StringMatcher, Problem> {
    match regex::Regex::new(text) {
        Ok(_) => Ok(by_regex(text)),
        Err(_) => Err(Problem::wrong(path.clone(), format!("`{text}` is not a regular expression"))),
    }
}

fn value(written: &RateLimitHeader, path: &FieldPath) -> Result<Option<StringMatcher>, Problem> {
    let text = written.value.as_deref();
    match written.kind.unwrap_or(RateLimitMatch::Exact) {
        RateLimitMatch::Distinct if written.invert == Some(true) => Err(Problem::wrong(
            path.field("invert"),
            "every value has a counter of its own: there is nothing to invert",
        )),
        RateLimitMatch::Distinct => Ok(None),
        RateLimitMatch::Exact => Ok(Some(exactly(text.unwrap_or_default()))),
        RateLimitMatch::RegularExpression => pattern(text.unwrap_or_default(), &path.field("value")).map(Some),
    }
}

fn header(
    written: &RateLimitHeader,
    path: &FieldPath,
    headers: &mut Vec<HeaderMatcher>,
    rest: &mut Vec<Condition>,
) -> Result<(), Problem> {
    let name = written.name.to_ascii_lowercase();
    match value(written, path)? {
        // Headers are the client's; the model is what the body says.
        None if name == MODEL_HEADER => rest.push(Condition::EachModel),
        None => rest.push(Condition::EachHeader(name)),
        Some(value) if written.invert == Some(true) => {
            rest.push(Condition::NoHeader(matching(&name, value).into()));
        }
        Some(value) => headers.push(matching(&name, value)),
    }
    Ok(())
}

/// Any of the methods.
fn method(written: &[RateLimitMethod], path: &FieldPath, headers: &mut Vec<HeaderMatcher>) -> Result<(), Problem> {
    let inverted = written.iter().filter(|method| method.invert == Some(true)).count();
    if inverted > 0 && written.len() > 1 {
        let message = "one of several methods is enough, so that one inverted among them lets all others through";
        return Err(Problem::wrong(path.clone(), message));
    }
    let names: Vec<String> = written.iter().map(|method| quoted(&method.value)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let matcher = matching(":method", by_regex(&names.join("|")));
    headers.push(HeaderMatcher { invert_match: inverted > 0, ..matcher });
    Ok(())
}

fn path(
    written: &RateLimitPath,
    path: &FieldPath,
    headers: &mut Vec<HeaderMatcher>,
    rest: &mut Vec<Condition>,
) -> Result<(), Problem> {
    let text = written.value.as_str();
    // The header holds the query too.
    let expression = match written.kind.unwrap_or(RateLimitPathMatch::PathPrefix) {
        RateLimitPathMatch::Exact => format!("{}(\\?.*)?", quoted(text)),
        RateLimitPathMatch::PathPrefix if text.trim_end_matches('/').is_empty() => "/.*".to_owned(),
        RateLimitPathMatch::PathPrefix => format!("{}([/?].*)?", quoted(text.trim_end_matches('/'))),
        RateLimitPathMatch::RegularExpression => format!("(?:{text})(\\?.*)?"),
    };
    let matcher = matching(":path", pattern(&expression, &path.field("value"))?);
    if written.invert == Some(true) {
        rest.push(Condition::NoHeader(matcher.into()));
    } else {
        headers.push(matcher);
    }
    Ok(())
}

fn param(
    written: &RateLimitHeader,
    path: &FieldPath,
    query: &mut Vec<QueryParameterMatcher>,
    rest: &mut Vec<Condition>,
) -> Result<(), Problem> {
    let Some(value) = value(written, path)? else {
        rest.push(Condition::EachQuery(written.name.to_string()));
        return Ok(());
    };
    let matcher = QueryParameterMatcher {
        name: written.name.to_string(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(value)),
    };
    if written.invert == Some(true) {
        rest.push(Condition::NoQuery(matcher.into()));
    } else {
        query.push(matcher);
    }
    Ok(())
}

fn source(written: &RateLimitSource, path: &FieldPath) -> Result<Condition, Problem> {
    let Some(range) = cidr(&written.value) else {
        let message = format!("`{}` is not a range of addresses", written.value);
        return Err(Problem::wrong(path.field("value"), message));
    };
    let length = range.prefix_len.map(|length| length.value).unwrap_or_default();
    let range = CidrRange { address_prefix: range.address_prefix, prefix_len: Some(uint32(length)) };
    Ok(Condition::Source {
        ranges: AddressMatcher { ranges: vec![range], invert_match: written.invert == Some(true) },
        each: written.kind == Some(RateLimitSourceMatch::Distinct),
    })
}
