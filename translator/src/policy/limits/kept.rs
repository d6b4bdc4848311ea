//! Conditions at the end of a request, for a service that is asked twice.
//!
//! By then the headers are what the last attempt made of them: credentials exchanged, the path another one, ours taken away.
//! So the script `quotas.lua` keeps those that a rule looks at when the request comes, and the second question looks at what
//! was kept: it meets the same counter as the first.

use std::collections::BTreeSet;

use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::config::route::v3::HeaderMatcher;
use xds_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use xds_api::envoy::config::route::v3::rate_limit::Action;
use xds_api::envoy::config::route::v3::rate_limit::action::{ActionSpecifier, MetaData};
use xds_api::envoy::extensions::rate_limit_descriptors::expr::v3::Descriptor;
use xds_api::envoy::extensions::rate_limit_descriptors::expr::v3::descriptor::ExprSpecifier;
use xds_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::condition::{Condition, metadata_key};

/// The dynamic metadata with what was kept.
const KEPT: &str = "chancery.kept";

/// The headers that a condition looks at.
pub(super) fn headers(condition: &Condition, all: &mut BTreeSet<String>) {
    match condition {
        Condition::Headers(headers) => all.extend(headers.iter().map(|header| header.name.clone())),
        Condition::NoHeader(header) => {
            all.insert(header.name.clone());
        }
        Condition::EachHeader(name) => {
            all.insert(name.clone());
        }
        _ => {}
    }
}

/// The condition as the second question asks it: with the same entry.
pub(super) fn action(condition: &Condition) -> Action {
    let (key, value) = condition.entry();
    match condition {
        Condition::Headers(headers) => {
            let all: Vec<String> = headers.iter().map(held).collect();
            when(key, value.unwrap_or_default(), &all.join(" && "))
        }
        Condition::NoHeader(header) => {
            let absent = format!("!({} in {})", quoted(&header.name), namespace());
            when(key, value.unwrap_or_default(), &format!("{absent} || !({})", held(header)))
        }
        Condition::EachHeader(name) => Action {
            action_specifier: Some(ActionSpecifier::Metadata(MetaData {
                descriptor_key: key,
                metadata_key: Some(metadata_key(KEPT, name)),
                ..MetaData::default()
            })),
        },
        other => other.action(),
    }
}

fn namespace() -> String {
    format!("metadata.filter_metadata['{KEPT}']")
}

/// An expression that is true where a header matches.
fn held(header: &HeaderMatcher) -> String {
    let value = format!("{}[{}]", namespace(), quoted(&header.name));
    let Some(HeaderMatchSpecifier::StringMatch(matcher)) = &header.header_match_specifier else {
        return "false".to_owned();
    };
    let matches = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("{value} == {}", quoted(text)),
        Some(MatchPattern::SafeRegex(regex)) => {
            format!("{value}.matches({})", quoted(&format!("^(?:{})$", regex.regex)))
        }
        _ => return "false".to_owned(),
    };
    if header.invert_match { format!("!({matches})") } else { format!("({matches})") }
}

/// An entry where an expression is true; where it is not, its value cannot be found, and there is no descriptor.
fn when(descriptor_key: String, value: &str, condition: &str) -> Action {
    let descriptor = Descriptor {
        descriptor_key,
        expr_specifier: Some(ExprSpecifier::Text(format!("{{true: '{value}'}}[{condition}]"))),
        ..Descriptor::default()
    };
    let extension = TypedExtensionConfig {
        name: "envoy.rate_limit_descriptors.expr".to_owned(),
        typed_config: Some(any(&descriptor)),
    };
    Action { action_specifier: Some(ActionSpecifier::Extension(extension)) }
}

/// A text of an expression that cannot end before its end.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
