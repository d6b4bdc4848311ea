//! What the AI routes of one host have in common: the rules that name no model exactly, and the list of models.

use std::collections::BTreeMap;

use serde::Serialize;
use smol_str::SmolStr;
use xds_api::google::protobuf::Any;
use xxhash_rust::xxh3::Xxh3;

use super::api::Api;
use super::attached::AiRoute;
use super::filters::{ON_DEMAND, OTHER};
use super::tables::ModelKey;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::HcmId;
use crate::render::filters::presence;
use crate::routing::AttachedRules;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostModels {
    /// In the order of precedence.
    pub any: Vec<AiRoute>,
    /// What says who may come in, for answers that no rule gives.
    pub guards: BTreeMap<String, Any>,
    /// Whether there are so many models that the tables of each are fetched on demand.
    pub many: bool,
}

pub(crate) fn many(hcm: &HcmId, host: &SmolStr, view: &View<'_>) -> bool {
    view.made::<HostModels>(UnitId::AiHost(hcm.clone(), host.clone())).is_some_and(|models| models.many)
}

/// So many models are with an Envoy from its start: it serves them whatever becomes of the control plane. More than these
/// would keep it from serving for long, and an Envoy is seldom asked for all of them.
const MANY: usize = 1000;

/// A model as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub model: SmolStr,
    pub owner: SmolStr,
    /// Seconds since 1970.
    pub created: i64,
}

pub(crate) fn evaluate(hcm: &HcmId, host: &SmolStr, view: &View<'_>) -> Outcome {
    let mut any = Vec::new();
    let mut guards = BTreeMap::new();
    let mut named = 0;
    for unit in view.demanders() {
        let Some(ai) = view.made_by::<AttachedRules>(unit).and_then(|rules| rules.ai.as_ref()) else { continue };
        any.extend(ai.any.iter().cloned());
        named += ai.by_model.len();
        if guards.is_empty() {
            guards.clone_from(&ai.guards);
        }
    }
    any.sort_by(|a, b| a.precedence.cmp(&b.precedence));
    let keys = [ModelKey::Other, ModelKey::List(Api::OpenAi), ModelKey::List(Api::Anthropic)];
    let tables = keys.into_iter().flat_map(|key| {
        [UnitId::ModelTable(hcm.clone(), host.clone(), key.clone()), UnitId::ModelScope(hcm.clone(), host.clone(), key)]
    });
    let many = named > MANY;
    let fetching = [ON_DEMAND, OTHER].into_iter().filter(|_| many);
    let demands = tables.chain(fetching.filter_map(|name| presence::used(&hcm.gateway, name))).collect();
    let product = Product::HostModels(HostModels { any, guards, many }.into());
    Outcome { product, demands, diagnostics: Vec::new() }
}

/// The models of a host, each once, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listing {
    models: Vec<Listed>,
    /// Tells a long list from what it was before.
    pub version: Option<u64>,
}

/// A list as short as this is pushed to whoever has it. Of a longer one, every change makes a table by a new name, which
/// an Envoy fetches when somebody asks for the list: ten thousand models are a megabyte, and are seldom listed.
const PUSHED: usize = 16;

pub(crate) fn evaluate_list(hcm: &HcmId, view: &View<'_>) -> Outcome {
    let mut all: BTreeMap<SmolStr, Listed> = BTreeMap::new();
    for unit in view.demanders() {
        let Some(ai) = view.made_by::<AttachedRules>(unit).and_then(|rules| rules.ai.as_ref()) else { continue };
        for listed in &ai.listed {
            all.entry(listed.model.clone()).or_insert_with(|| listed.clone());
        }
    }
    let listing = Listing::new(all.into_values().collect());
    let fetched = listing.version.and_then(|_| presence::used(&hcm.gateway, ON_DEMAND));
    Outcome {
        product: Product::Listing(listing.into()),
        demands: fetched.into_iter().collect(),
        diagnostics: Vec::new(),
    }
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    data: Vec<OpenAiModel<'a>>,
    object: &'static str,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    created: i64,
    id: &'a str,
    object: &'static str,
    owned_by: &'a str,
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    first_id: Option<&'a str>,
    has_more: bool,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    created_at: String,
    display_name: &'a str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'a> From<&'a Listed> for OpenAiModel<'a> {
    fn from(one: &'a Listed) -> Self {
        Self { created: one.created, id: &one.model, object: "model", owned_by: &one.owner }
    }
}

impl<'a> From<&'a Listed> for AnthropicModel<'a> {
    fn from(one: &'a Listed) -> Self {
        Self { created_at: rfc3339(one.created), display_name: &one.model, id: &one.model, kind: "model" }
    }
}

impl Listing {
    fn new(models: Vec<Listed>) -> Self {
        let version = (models.len() > PUSHED).then(|| {
            let mut hash = Xxh3::new();
            for one in &models {
                // Ends that no name holds keep one field from running into the next.
                hash.update(one.model.as_bytes());
                hash.update(&[0xff]);
                hash.update(one.owner.as_bytes());
                hash.update(&[0xff]);
                hash.update(&one.created.to_le_bytes());
            }
            hash.digest()
        });
        Self { models, version }
    }

    /// The list as clients of an API read it.
    pub(super) fn body(&self, api: Api) -> serde_json::Result<String> {
        match api {
            Api::Anthropic => serde_json::to_string(&AnthropicList {
                data: self.models.iter().map(AnthropicModel::from).collect(),
                first_id: self.models.first().map(|one| one.model.as_str()),
                has_more: false,
                last_id: self.models.last().map(|one| one.model.as_str()),
            }),
            Api::OpenAi | Api::Cohere => serde_json::to_string(&OpenAiList {
                data: self.models.iter().map(OpenAiModel::from).collect(),
                object: "list",
            }),
        }
    }
}

/// Seconds since 1970 of a time in UTC such as `2026-01-31T12:00:00Z`.
pub(super) fn seconds(time: &str) -> Option<i64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split('.').next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Years that start in March put the leap day last.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn rfc3339(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let clock = seconds.rem_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock / 3600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:30:15Z", 951_827_415),
            ("2026-11-27T21:02:56Z", 1_795_813_376),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
            assert_eq!(rfc3339(expected), text);
        }
    }
}
