//! Envoy Gateway's HTTPRouteFilter, borrowed by a rule through `extensionRef`.

use kinds::core::ConfigMap;
use kinds::envoy_gateway::{DirectResponse, HttpRouteFilterSpec, ResponseBody, UrlRewrite};
use kinds::{FieldPath, Object, ObjectId};
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use xds_api::envoy::config::route::v3::DirectResponseAction;
use xds_api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::filters::{Effects, Refused, literal};
use super::matches::regex;
use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::render::build::header;

pub(super) fn take(effects: &mut Effects, route: &Object, path: &FieldPath, view: &View<'_>) -> Result<(), Refused> {
    let path = path.field("extensionRef");
    let refuse = |condition, reason, message: String| Err(Refused { condition, reason, message, path: path.clone() });
    let Some(edge) = view.reference(&route.id, path.as_str()) else { return Ok(()) };
    let id = match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => id,
        (target, Verdict::NotFound) => {
            return refuse("ResolvedRefs", "BackendNotFound", format!("{target} does not exist"));
        }
        (target, _) => return refuse("ResolvedRefs", "InvalidKind", format!("{target} cannot be a filter")),
    };
    let Some(spec) = view.spec::<HttpRouteFilterSpec>(id) else { return Ok(()) };
    if let Some(answer) = &spec.direct_response {
        match direct_response(id, answer, view) {
            Ok(direct) => effects.answer = Some(direct),
            Err(message) => return refuse("Accepted", "UnsupportedValue", format!("{id}: {message}")),
        }
        if let Some(kind) = &answer.content_type {
            let set = HeaderAppendAction::OverwriteIfExistsOrAdd;
            effects.headers.response_add.push(header("content-type", &literal(kind), set));
        }
    }
    if let Some(rewrite) = &spec.url_rewrite {
        url_rewrite(effects, rewrite);
    }
    for (field, present) in
        [("credentialInjection", spec.credential_injection.is_some()), ("matches", spec.matches.is_some())]
    {
        if present {
            return refuse("Accepted", "UnsupportedValue", format!("{id}: spec.{field} is not supported"));
        }
    }
    Ok(())
}

/// The key of a body in a ConfigMap; without it, the first key there is.
const BODY_KEY: &str = "response.body";
/// Envoy refuses a longer one, and its whole table with it.
const LONGEST_BODY: usize = 4096;

fn direct_response(
    filter: &ObjectId,
    answer: &DirectResponse,
    view: &View<'_>,
) -> Result<DirectResponseAction, String> {
    let text = match &answer.body {
        None => None,
        Some(ResponseBody { value_ref: None, inline, .. }) => inline.clone(),
        Some(ResponseBody { value_ref: Some(_), .. }) => {
            match view.reference(filter, "spec.directResponse.body.valueRef").map(|edge| (&edge.target, edge.verdict)) {
                Some((Target::Object(id), Verdict::Allowed)) => Some(text_of(id, view)?),
                Some((target, verdict)) => return Err(format!("{target}: {}", verdict.words())),
                None => return Err("its body is nowhere".to_owned()),
            }
        }
    };
    if text.as_ref().is_some_and(|text| text.len() > LONGEST_BODY) {
        return Err(format!("an answer may have {LONGEST_BODY} bytes"));
    }
    Ok(DirectResponseAction {
        status: answer.status_code.unwrap_or(200),
        body: text.map(|text| DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() }),
        ..DirectResponseAction::default()
    })
}

fn text_of(id: &ObjectId, view: &View<'_>) -> Result<String, String> {
    let map = view.spec::<ConfigMap>(id).ok_or_else(|| format!("{id} is no ConfigMap"))?;
    let text = map.get(BODY_KEY).or_else(|| map.first()).ok_or_else(|| format!("{id} holds no text"))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn url_rewrite(effects: &mut Effects, rewrite: &UrlRewrite) {
    if let Some(path) = rewrite.path.as_ref().and_then(|path| path.replace_regex_match.as_ref()) {
        effects.regex_rewrite = Some(RegexMatchAndSubstitute {
            pattern: Some(regex(&path.pattern)),
            substitution: path.substitution.to_string(),
        });
    }
    match rewrite.hostname.as_ref().map(|hostname| (hostname.kind.as_str(), hostname.header.as_deref())) {
        Some(("Header", Some(name))) => effects.host_from_header = Some(name.to_owned()),
        Some(("Backend", _)) => effects.host_of_backend = true,
        _ => {}
    }
}
