//! Envoy Gateway's HTTPRouteFilter, borrowed by a rule through `extensionRef`.

use kinds::envoy_gateway::{DirectResponse, HttpRouteFilterSpec, UrlRewrite};
use kinds::{FieldPath, Object};
use xds_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use xds_api::envoy::config::route::v3::DirectResponseAction;
use xds_api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::filters::{Effects, Refused};
use super::matches::regex;
use crate::engine::View;
use crate::graph::{Target, Verdict};

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
        effects.answer = Some(direct_response(answer));
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

fn direct_response(answer: &DirectResponse) -> DirectResponseAction {
    let text = answer.body.as_ref().and_then(|body| body.inline.clone());
    DirectResponseAction {
        status: answer.status_code.unwrap_or(200),
        body: text.map(|text| DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() }),
        ..DirectResponseAction::default()
    }
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
