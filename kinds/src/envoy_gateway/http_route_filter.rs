//! HTTPRouteFilter: what a route may borrow beyond Gateway API's own filters.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::gateway::{HttpHeaderFilter, LocalObjectReference, SecretObjectReference};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilterSpec {
    #[serde(default)]
    pub url_rewrite: Option<UrlRewrite>,
    #[serde(default)]
    pub direct_response: Option<DirectResponse>,
    #[serde(default)]
    pub credential_injection: Option<CredentialInjection>,
    #[serde(default)]
    pub matches: Vec<FurtherMatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialInjection {
    #[serde(default)]
    pub header: Option<SmolStr>,
    #[serde(default)]
    pub overwrite: Option<bool>,
    pub credential: InjectedCredential,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectedCredential {
    pub value_ref: SecretObjectReference,
}

/// What a request must have besides what the rule asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FurtherMatch {
    #[serde(default)]
    pub cookies: Vec<CookieMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieMatch {
    pub name: SmolStr,
    #[serde(default, rename = "type")]
    pub kind: CookieMatchType,
    pub value: SmolStr,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieMatchType {
    #[default]
    Exact,
    RegularExpression,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlRewrite {
    #[serde(default)]
    pub hostname: Option<HostnameModifier>,
    #[serde(default)]
    pub path: Option<PathModifier>,
    #[serde(default)]
    pub append_x_forwarded_host: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostnameModifier {
    #[serde(rename = "type")]
    pub kind: SmolStr,
    #[serde(default)]
    pub header: Option<SmolStr>,
    #[serde(default)]
    pub path_regex: Option<ReplaceRegexMatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    #[serde(rename = "type")]
    pub kind: SmolStr,
    #[serde(default)]
    pub replace_regex_match: Option<ReplaceRegexMatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplaceRegexMatch {
    pub pattern: SmolStr,
    pub substitution: SmolStr,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponse {
    #[serde(default)]
    pub content_type: Option<SmolStr>,
    #[serde(default)]
    pub body: Option<ResponseBody>,
    #[serde(default)]
    pub status_code: Option<u32>,
    #[serde(default)]
    pub header: Option<HttpHeaderFilter>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseBody {
    #[serde(default, rename = "type")]
    pub kind: Option<SmolStr>,
    #[serde(default)]
    pub inline: Option<String>,
    #[serde(default)]
    pub value_ref: Option<LocalObjectReference>,
}
