//! What requests of a route cost: numbers worked out from their tokens, each under a name.
//!
//! A route lists them, and its Gateway's GatewayConfig lists those of all its routes; the route's own stand before. They
//! become a program that the script `usage.lua` runs on the tokens of each answer.

use std::collections::BTreeMap;

use kinds::ai::{AiGatewayRouteSpec, GatewayConfigSpec, LlmRequestCost, LlmRequestCostType};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;

use super::expression;
use super::filters::{METADATA, USAGE};
use super::pre_route::orders;
use crate::engine::View;
use xds_api::envoy::config::core::v3::Metadata;

/// The dynamic metadata with the costs of a request.
pub(crate) const COSTS: &str = "io.envoy.ai_gateway";
/// Which GatewayConfig is for a Gateway.
const CONFIG: &str = "aigateway.envoyproxy.io/gateway-config";

/// Names that say what they count: they are produced for limits that need them, whoever forgot to list them.
const SPEAKING: [(&str, LlmRequestCostType); 6] = [
    ("llm_input_token", LlmRequestCostType::InputToken),
    ("llm_output_token", LlmRequestCostType::OutputToken),
    ("llm_total_token", LlmRequestCostType::TotalToken),
    ("llm_cached_input_token", LlmRequestCostType::CachedInputToken),
    ("llm_cache_creation_input_token", LlmRequestCostType::CacheCreationInputToken),
    ("llm_reasoning_token", LlmRequestCostType::ReasoningToken),
];

#[derive(Clone, Debug, PartialEq)]
enum Cost {
    Tokens(LlmRequestCostType),
    /// The body of a function of the script's.
    Expression(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Costs(BTreeMap<SmolStr, Cost>);

impl Costs {
    /// What a route produces behind a Gateway. An expression that is wrong produces nothing.
    pub(crate) fn of(route: &Object, gateway: &ObjectId, view: &View<'_>) -> Self {
        let global = config_of(gateway, view).and_then(|config| view.spec::<GatewayConfigSpec>(&config));
        let global = global.into_iter().flat_map(|config| &config.global_llm_request_costs);
        let own = route.spec::<AiGatewayRouteSpec>().into_iter().flat_map(|spec| &spec.llm_request_costs);
        let listed = global.chain(own).filter_map(|written| Some((written.metadata_key.clone(), cost(written).ok()?)));
        Self(listed.collect())
    }

    pub(crate) fn lists(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether a cost that is not listed can be produced by what its name says.
    pub(crate) fn speaks(key: &str) -> bool {
        SPEAKING.iter().any(|(name, _)| *name == key)
    }

    /// With costs that are needed and not listed.
    pub(crate) fn with(mut self, keys: impl Iterator<Item = SmolStr>) -> Self {
        for key in keys {
            if let Some((_, kind)) = SPEAKING.iter().find(|(name, _)| *name == key) {
                self.0.entry(key).or_insert(Cost::Tokens(*kind));
            }
        }
        self
    }

    /// With costs that are expressions of a policy's.
    pub(crate) fn with_expressions<'a>(mut self, more: impl Iterator<Item = (&'a SmolStr, &'a String)>) -> Self {
        self.0.extend(more.map(|(key, body)| (key.clone(), Cost::Expression(body.clone()))));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where an estimate of a cost stands before the request is answered; none where only experience can tell.
    pub(crate) fn estimate(&self, key: &str) -> Option<Estimate> {
        match self.0.get(key)? {
            Cost::Tokens(LlmRequestCostType::InputToken) => Some(Estimate("input")),
            Cost::Tokens(LlmRequestCostType::OutputToken) => Some(Estimate("output")),
            Cost::Tokens(LlmRequestCostType::TotalToken) => Some(Estimate("total")),
            Cost::Tokens(_) | Cost::Expression(_) => None,
        }
    }

    /// The costs as the script reads them: names, each with its function.
    fn program(&self) -> String {
        let entries = self.0.iter().map(|(key, cost)| {
            let body = match cost {
                Cost::Tokens(kind) => format!("return u.{}", field(*kind)),
                Cost::Expression(body) => body.clone(),
            };
            format!("{{{},function(u,c,h) {body} end}}", expression::quoted(key))
        });
        format!("return {{{}}}", entries.collect::<Vec<_>>().join(","))
    }
}

/// What is known of a cost before the request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Estimate(&'static str);

impl Estimate {
    pub(crate) fn field(self) -> &'static str {
        self.0
    }

    /// Where the script that reads the request notes it.
    pub(crate) fn format(self) -> String {
        format!("%DYNAMIC_METADATA({METADATA}:asked_{})%", self.0)
    }
}

impl Costs {
    pub(crate) fn orders(&self, route: &ObjectId) -> Metadata {
        let route = format!("{}/{}", route.namespace, route.name);
        orders(USAGE, &[("costs", &self.program()), ("route", &route)])
    }
}

fn field(kind: LlmRequestCostType) -> &'static str {
    match kind {
        LlmRequestCostType::InputToken => "input",
        LlmRequestCostType::OutputToken => "output",
        LlmRequestCostType::CachedInputToken => "cached",
        LlmRequestCostType::CacheCreationInputToken => "creation",
        LlmRequestCostType::ReasoningToken => "reasoning",
        LlmRequestCostType::TotalToken | LlmRequestCostType::Cel => "total",
    }
}

fn cost(written: &LlmRequestCost) -> Result<Cost, String> {
    match (written.kind, &written.cel) {
        (LlmRequestCostType::Cel, Some(expression)) => expression::to_lua(expression).map(Cost::Expression),
        (LlmRequestCostType::Cel, None) => Err("a cost of type CEL needs an expression".to_owned()),
        (kind, _) => Ok(Cost::Tokens(kind)),
    }
}

/// What is wrong with a list of costs, and in which field.
pub(crate) fn problems(written: &[LlmRequestCost], base: &FieldPath) -> Vec<(FieldPath, String)> {
    let wrong = written.iter().enumerate().filter_map(|(index, written)| {
        let message = cost(written).err()?;
        Some((base.index(index).field("cel"), message))
    });
    wrong.collect()
}

fn config_of(gateway: &ObjectId, view: &View<'_>) -> Option<ObjectId> {
    let name = view.object(gateway)?.meta.annotations.get(CONFIG)?;
    Some(ObjectId::new(Kind::GatewayConfig, gateway.namespace.clone(), name.clone()))
}
