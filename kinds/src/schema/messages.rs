//! What to say of a broken rule: the rules are expressions, and the tables know what they mean.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::meanings::TABLES;

static ROWS: LazyLock<Vec<(Regex, &str, &str)>> = LazyLock::new(|| {
    let rows = TABLES.into_iter().flatten();
    rows.filter_map(|(shape, message, help)| Some((Regex::new(shape).ok()?, *message, *help))).collect()
});

/// The message, and what to do about it.
pub(super) fn of_rule(rule: &str) -> (String, Option<String>) {
    let fitting = ROWS.iter().find_map(|(shape, message, help)| Some((shape.captures(rule)?, message, help)));
    match fitting {
        Some((captured, message, help)) => (filled(&captured, message), Some(filled(&captured, help))),
        None => (format!("breaks the rule {}", rule.trim()), None),
    }
}

/// A template with what was captured; lists of words are captured with their quotes, which nobody needs to see.
fn filled(captured: &Captures<'_>, template: &str) -> String {
    let mut text = String::new();
    captured.expand(template, &mut text);
    text.replace('\'', "")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;
    use serde_json::Value;

    use super::super::{meanings::TABLES, store};
    use super::of_rule;
    use crate::Kind;

    fn rules(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(fields) => {
                for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    found.extend(rule["rule"].as_str().map(str::to_owned));
                }
                fields.iter().filter(|(name, _)| *name != "status").for_each(|(_, field)| rules(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
            _ => {}
        }
    }

    fn embedded() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for info in Kind::TABLE {
            // Its rules are about Deployments, which are none of ours.
            if matches!(info.kind, Kind::EnvoyProxy | Kind::GatewayParameters) {
                continue;
            }
            for version in info.versions {
                if let Some(schema) = store::open_api(&format!("{}.{}", info.plural, info.group), version) {
                    rules(&schema, &mut found);
                }
            }
        }
        found
    }

    #[test]
    fn every_rule_is_put_into_words() {
        let rules = embedded();
        assert!(rules.len() > 150, "{}", rules.len());
        let mute: Vec<&String> = rules.iter().filter(|rule| of_rule(rule).1.is_none()).collect();
        assert!(mute.is_empty(), "no words for {mute:#?}");
    }

    #[test]
    fn every_shape_is_well_formed() {
        for (shape, ..) in TABLES.into_iter().flatten() {
            assert!(Regex::new(shape).is_ok(), "{shape}");
        }
    }

    #[test]
    fn what_a_shape_captures_is_named() {
        let said = |rule| {
            let (message, help) = of_rule(rule);
            (message, help.unwrap_or_default())
        };
        let (message, help) = said("!(!has(self.urlRewrite) && self.type == 'URLRewrite')");
        assert_eq!((message.as_str(), help.as_str()), ("type URLRewrite needs `urlRewrite`", "add `urlRewrite`"));
        let (_, help) = said("has(self.targetRef) ? self.targetRef.kind in ['Gateway', 'ListenerSet'] : true");
        assert_eq!(help, "use a target of kind Gateway, ListenerSet");
    }
}
