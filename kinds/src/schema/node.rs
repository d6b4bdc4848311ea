//! A schema, compiled to what a check needs.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::expression::Rule;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Type {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub ty: Type,
    pub nullable: bool,
    pub preserves_unknown: bool,
    pub properties: BTreeMap<String, Node>,
    pub required: Vec<String>,
    /// Values of a map whose keys are the user's.
    pub additional: Option<Box<Node>>,
    pub items: Option<Box<Node>>,
    /// Fields by which the items of a list are told apart; empty and a set where items are values themselves.
    pub list_keys: Vec<String>,
    pub is_set: bool,
    pub default: Option<Value>,
    /// Whether a default stands here or below.
    pub has_defaults: bool,
    pub allowed: Vec<Value>,
    pub pattern: Option<Regex>,
    pub format: Option<String>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
    pub rules: Vec<Rule>,
    /// Whether a rule stands here or below.
    pub has_rules: bool,
}

impl Node {
    pub(super) fn compile(schema: &Value) -> Self {
        let text = |field: &str| schema.get(field).and_then(Value::as_str);
        let number = |field: &str| schema.get(field).and_then(Value::as_u64);
        let flag = |field: &str| schema.get(field).and_then(Value::as_bool).unwrap_or(false);
        let nodes = |field: &str| {
            let branches = schema.get(field).and_then(Value::as_array);
            branches.map(|branches| branches.iter().map(Self::compile).collect()).unwrap_or_default()
        };
        let node = |field: &str| schema.get(field).filter(|s| s.is_object()).map(|s| Box::new(Self::compile(s)));
        let strings = |field: &str| -> Vec<String> {
            let list = schema.get(field).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let ty = match text("type") {
            _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
            Some("object") => Type::Object,
            Some("array") => Type::Array,
            Some("string") => Type::String,
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            _ => Type::Any,
        };
        let properties: BTreeMap<String, Self> = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|fields| fields.iter().map(|(name, field)| (name.clone(), Self::compile(field))).collect())
            .unwrap_or_default();
        let items = node("items");
        let additional = node("additionalProperties");
        let [all_of, any_of, one_of]: [Vec<Self>; 3] = ["allOf", "anyOf", "oneOf"].map(nodes);
        let written = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
        let rules: Vec<Rule> = written.filter_map(|rule| rule["rule"].as_str().map(Rule::compile)).collect();
        let below = properties.values().chain(items.as_deref()).chain(additional.as_deref());
        let has_rules =
            !rules.is_empty() || below.chain(&all_of).chain(&any_of).chain(&one_of).any(|inner| inner.has_rules);
        let default = schema.get("default").cloned();
        let has_defaults = default.is_some()
            || properties.values().any(|field| field.has_defaults)
            || items.as_ref().is_some_and(|items| items.has_defaults)
            || additional.as_ref().is_some_and(|values| values.has_defaults);
        Self {
            ty,
            nullable: flag("nullable"),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            properties,
            required: strings("required"),
            additional,
            items,
            list_keys: strings("x-kubernetes-list-map-keys"),
            is_set: text("x-kubernetes-list-type") == Some("set"),
            default,
            has_defaults,
            allowed: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern: text("pattern").and_then(|pattern| Regex::new(pattern).ok()),
            format: text("format").map(str::to_owned),
            min_length: number("minLength"),
            max_length: number("maxLength"),
            min_items: number("minItems"),
            max_items: number("maxItems"),
            min_properties: number("minProperties"),
            max_properties: number("maxProperties"),
            minimum: schema.get("minimum").and_then(Value::as_f64),
            maximum: schema.get("maximum").and_then(Value::as_f64),
            all_of,
            any_of,
            one_of,
            not: node("not"),
            rules,
            has_rules,
        }
    }

    /// Whether any field name may stand here.
    pub(super) fn takes_any_field(&self) -> bool {
        self.preserves_unknown || (self.properties.is_empty() && self.additional.is_none())
    }

    pub(super) fn field_names(&self) -> BTreeSet<&str> {
        self.properties.keys().map(String::as_str).collect()
    }
    /// Whether all rules, here and below, hold for sure.
    pub(super) fn rules_hold(&self, value: &Value) -> bool {
        if !self.has_rules {
            return true;
        }
        let inside = match value {
            Value::Object(fields) => fields.iter().all(|(name, field)| {
                let values = self.additional.as_deref().filter(|_| !self.preserves_unknown);
                self.properties.get(name).or(values).is_none_or(|node| node.rules_hold(field))
            }),
            Value::Array(items) => {
                self.items.as_ref().is_none_or(|node| items.iter().all(|item| node.rules_hold(item)))
            }
            _ => true,
        };
        let combined = || self.all_of.iter().chain(&self.any_of).chain(&self.one_of);
        inside && self.rules.iter().all(|rule| rule.holds(value)) && combined().all(|node| node.rules_hold(value))
    }
}
