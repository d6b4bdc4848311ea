//! Envoy Gateway's HTTPRouteFilter, borrowed by a rule through `extensionRef`.

use kinds::core::{ConfigMap, Secret};
use kinds::envoy_gateway::{
    CookieMatch, CredentialInjection, DirectResponse, FurtherMatch, HttpRouteFilterSpec, ReplaceRegexMatch,
    ResponseBody, UrlRewrite,
};
use kinds::{FieldPath, Kind, Object, ObjectId};
use xds_api::any;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier};
use xds_api::envoy::config::route::v3::DirectResponseAction;
use xds_api::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use xds_api::envoy::extensions::filters::http::credential_injector::v3::CredentialInjector;
use xds_api::envoy::extensions::http::injected_credentials::generic::v3::Generic;
use xds_api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::filters::{Effects, Refused, edits, literal};
use super::matches::regex;
use crate::engine::View;
use crate::graph::{Target, Verdict};
use crate::names::SecretId;
use crate::render::build::{boolean, extension, header};
use crate::render::downstream_tls::sds;
use crate::render::filters::traffic::{self, Place};

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
        if let Some(headers) = &answer.header {
            effects.headers.response_add.extend(edits(headers));
        }
        if let Some(kind) = &answer.content_type {
            let set = HeaderAppendAction::OverwriteIfExistsOrAdd;
            effects.headers.response_add.push(header("content-type", &literal(kind), set));
        }
    }
    if let Some(rewrite) = &spec.url_rewrite {
        url_rewrite(effects, rewrite);
    }
    if let Some(injection) = &spec.credential_injection {
        match credential(id, injection, view) {
            Ok((filter, secret)) => {
                effects.orders.push(traffic::order(Place::Credentials, vec![filter]));
                effects.secrets.push(secret);
            }
            Err(message) => return refuse("Accepted", "UnsupportedValue", format!("{id}: {message}")),
        }
    }
    if !spec.matches.is_empty() {
        if route.id.kind != Kind::HttpRoute {
            let message = format!("{id}: spec.matches is for rules of an HTTPRoute");
            return refuse("Accepted", "UnsupportedValue", message);
        }
        effects.cookies = both(&effects.cookies, &spec.matches);
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
        effects.regex_rewrite = Some(substitution(path));
    }
    effects.tells_host |= rewrite.append_x_forwarded_host == Some(true);
    let Some(hostname) = &rewrite.hostname else { return };
    effects.host = match (hostname.kind.as_str(), &hostname.header, &hostname.path_regex) {
        ("Header", Some(name), _) => Some(HostRewriteSpecifier::HostRewriteHeader(name.to_string())),
        ("PathRegex", _, Some(regex)) => Some(HostRewriteSpecifier::HostRewritePathRegex(substitution(regex))),
        ("Backend", ..) => Some(HostRewriteSpecifier::AutoHostRewrite(boolean(true))),
        _ => return,
    };
}

fn substitution(written: &ReplaceRegexMatch) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(&written.pattern)), substitution: written.substitution.to_string() }
}

/// The data key of a Secret with a credential.
const CREDENTIAL: &str = "credential";

/// The filter that puts a credential on requests. The credential itself travels as a secret.
fn credential(
    filter: &ObjectId,
    written: &CredentialInjection,
    view: &View<'_>,
) -> Result<(TypedExtensionConfig, SecretId), String> {
    let edge = view.reference(filter, "spec.credentialInjection.credential.valueRef");
    let secret = match edge.map(|edge| (&edge.target, edge.verdict)) {
        Some((Target::Object(id), Verdict::Allowed)) => id.clone(),
        Some((target, verdict)) => return Err(format!("{target}: {}", verdict.words())),
        None => return Err("its credential is nowhere".to_owned()),
    };
    if view.spec::<Secret>(&secret).and_then(|secret| secret.get(CREDENTIAL)).is_none_or(<[u8]>::is_empty) {
        return Err(format!("{secret} has no data key {CREDENTIAL}"));
    }
    let secret = SecretId::Generic(secret, CREDENTIAL.into());
    let generic = Generic {
        credential: Some(sds(&secret)),
        header: written.header.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..Generic::default()
    };
    let injector = CredentialInjector {
        overwrite: written.overwrite.unwrap_or(false),
        credential: Some(extension("envoy.http.injected_credentials.generic", any(&generic))),
        ..CredentialInjector::default()
    };
    Ok((extension("envoy.filters.http.credential_injector", any(&injector)), secret))
}

/// Sets of cookies that hold one of each.
fn both(before: &[Vec<CookieMatch>], further: &[FurtherMatch]) -> Vec<Vec<CookieMatch>> {
    if before.is_empty() {
        return further.iter().map(|further| further.cookies.clone()).collect();
    }
    let with = |before: &Vec<CookieMatch>| {
        let all = further.iter().map(|further| before.iter().chain(&further.cookies).cloned().collect());
        all.collect::<Vec<_>>()
    };
    before.iter().flat_map(with).collect()
}
