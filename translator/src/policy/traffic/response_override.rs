//! Answers that are replaced.

use kinds::FieldPath;
use kinds::core::ConfigMap;
use kinds::envoy_gateway::shared::HeaderEdits;
use kinds::envoy_gateway::{CustomRedirect, CustomResponse, ResponseMatch, ResponseOverride, ResponseSource};
use xds_api::any;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::substitution_format_string::Format;
use xds_api::envoy::config::core::v3::{HeaderValueOption, SubstitutionFormatString, TypedExtensionConfig};
use xds_api::envoy::extensions::filters::http::custom_response::v3::CustomResponse as EnvoyCustomResponse;
use xds_api::envoy::extensions::http::custom_response::local_response_policy::v3::LocalResponsePolicy;
use xds_api::envoy::r#type::matcher::v3::{
    HttpResponseHeaderMatchInput, HttpResponseLocalReplyMatchInput, HttpResponseStatusCodeMatchInput,
};
use xds_api::google::protobuf::Any;
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use super::Policy;
use crate::policy::Problem;
use crate::render::build::{extension, header, text, uint32};
use crate::render::matcher;
use crate::routing::{literal, quoted};
use kinds::envoy_gateway::shared::StringMatchType;

pub(super) fn filter(policy: &Policy<'_>) -> Result<TypedExtensionConfig, Problem> {
    let base = FieldPath::from("spec.responseOverride");
    let mut rules = Vec::new();
    for (index, written) in policy.spec.response_override.iter().enumerate() {
        let path = base.index(index);
        let Some(condition) = condition(&written.matches, written.source) else {
            return Err(Problem::wrong(path.field("match"), "it says neither a status nor a header"));
        };
        rules.push((condition, action(policy, written, &path)?));
    }
    let filter = EnvoyCustomResponse { custom_response_matcher: Some(matcher::first_of(rules, None)) };
    Ok(extension("envoy.filters.http.custom_response", any(&filter)))
}

fn condition(written: &ResponseMatch, source: Option<ResponseSource>) -> Option<Predicate> {
    let status = |pattern| matcher::input("status", any(&HttpResponseStatusCodeMatchInput {}), pattern);
    let statuses = written.status_codes.iter().flat_map(|code| match (&code.range, code.value) {
        (Some(range), _) => (range.start..=range.end.min(range.start + 999))
            .map(|code| status(matcher::exact(&code.to_string())))
            .collect(),
        (None, Some(code)) => vec![status(matcher::exact(&code.to_string()))],
        (None, None) => Vec::new(),
    });
    let mut all: Vec<Predicate> = matcher::any_of(statuses.collect()).into_iter().collect();
    for written in &written.response_headers {
        let value = written.value.value.as_str();
        let pattern = match written.value.kind.unwrap_or(StringMatchType::Exact) {
            StringMatchType::Exact => matcher::exact(value),
            StringMatchType::Prefix => matcher::regex(&format!("{}.*", quoted(value))),
            StringMatchType::Suffix => matcher::regex(&format!(".*{}", quoted(value))),
            StringMatchType::RegularExpression => matcher::regex(value),
        };
        let input = HttpResponseHeaderMatchInput { header_name: written.name.to_ascii_lowercase() };
        all.push(matcher::input("response-header", any(&input), pattern));
    }
    if all.is_empty() {
        return None;
    }
    let local =
        |value: &str| matcher::input("local-reply", any(&HttpResponseLocalReplyMatchInput {}), matcher::exact(value));
    match source {
        Some(ResponseSource::Local) => all.push(local("true")),
        Some(ResponseSource::Backend) => all.push(local("false")),
        Some(ResponseSource::All) | None => {}
    }
    matcher::all(all)
}

fn action(policy: &Policy<'_>, written: &ResponseOverride, path: &FieldPath) -> Result<Any, Problem> {
    if let Some(redirect) = &written.redirect {
        return redirected(redirect, &path.field("redirect")).map(|policy| any(&policy));
    }
    let Some(response) = &written.response else {
        return Err(Problem::wrong(path.clone(), "it says neither response nor redirect"));
    };
    let path = path.field("response");
    if response.status_code.is_some_and(|code| !(200..600).contains(&code)) {
        return Err(Problem::wrong(path.field("statusCode"), "an answer has a status of 200 to 599"));
    }
    let body = body(policy, response, &path)?;
    let remove = response.header.iter().flat_map(|edits| &edits.remove).next();
    if remove.is_some() {
        let message = "headers of a replaced answer can be set and added, not removed";
        return Err(Problem::unsupported(path.field("header").field("remove"), message));
    }
    let mut headers = response.header.as_ref().map(edits).unwrap_or_default();
    if let Some(kind) = &response.content_type {
        headers.push(header("content-type", &literal(kind), HeaderAppendAction::OverwriteIfExistsOrAdd));
    }
    Ok(any(&LocalResponsePolicy {
        body: body.as_ref().map(|content| text(content.clone())),
        // Without a format the answer keeps the media type of a plain text.
        body_format: response.content_type.as_ref().map(|kind| SubstitutionFormatString {
            format: Some(Format::TextFormatSource(text("%LOCAL_REPLY_BODY%"))),
            content_type: kind.to_string(),
            ..SubstitutionFormatString::default()
        }),
        status_code: response.status_code.map(uint32),
        response_headers_to_add: headers,
        ..LocalResponsePolicy::default()
    }))
}

fn edits(written: &HeaderEdits) -> Vec<HeaderValueOption> {
    let set =
        written.set.iter().map(|h| header(&h.name, &literal(&h.value), HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = written.add.iter().map(|h| header(&h.name, &literal(&h.value), HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

fn body(policy: &Policy<'_>, written: &CustomResponse, path: &FieldPath) -> Result<Option<String>, Problem> {
    let Some(body) = &written.body else { return Ok(None) };
    let Some(reference) = &body.value_ref else { return Ok(body.inline.clone()) };
    let path = path.field("body").field("valueRef");
    let id = policy.object(&path, &reference.name)?;
    let map = policy.view().spec::<ConfigMap>(id);
    let content = map.and_then(|map| map.get("response.body").or_else(|| map.first()));
    match content.and_then(|content| std::str::from_utf8(content).ok()) {
        Some(content) => Ok(Some(content.to_owned())),
        None => Err(Problem::wrong(path, format!("{id} has no data key response.body"))),
    }
}

/// Sends the client elsewhere. What is not said stays as the request had it.
fn redirected(written: &CustomRedirect, path: &FieldPath) -> Result<LocalResponsePolicy, Problem> {
    let target = match &written.path {
        None => "%REQ(:PATH)%".to_owned(),
        Some(rewrite) => match &rewrite.replace_full_path {
            Some(full) => literal(full),
            None => {
                let message = "an answer no longer knows which prefix its request matched";
                return Err(Problem::unsupported(path.field("path").field("replacePrefixMatch"), message));
            }
        },
    };
    let scheme = written.scheme.as_ref().map_or_else(|| "%REQ(:SCHEME)%".to_owned(), ToString::to_string);
    let host = written.hostname.as_ref().map_or_else(|| "%REQ(:AUTHORITY)%".to_owned(), ToString::to_string);
    let port = written.port.map(|port| format!(":{port}")).unwrap_or_default();
    let location = format!("{scheme}://{host}{port}{target}");
    Ok(LocalResponsePolicy {
        status_code: Some(uint32(written.status_code.unwrap_or(302))),
        response_headers_to_add: vec![header("location", &location, HeaderAppendAction::OverwriteIfExistsOrAdd)],
        body: Some(text("")),
        ..LocalResponsePolicy::default()
    })
}
