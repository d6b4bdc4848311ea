//! One rule of a policy: what it counts, by how much, and up to where.

use kinds::envoy_gateway::{
    RateLimitCostFrom, RateLimitCostOf, RateLimitMetadata, RateLimitRule, RateLimitUnit, XRateLimitHeaders,
};
use kinds::{FieldPath, ObjectId};
use serde_json::json;
use smol_str::SmolStr;
use xds_api::envoy::config::route::v3::rate_limit::XRateLimitOption;
use xxhash_rust::xxh3::xxh3_64;

use super::condition::{self, Condition};
use crate::policy::Problem;

/// The greatest number of hits that Envoy reports.
const MOST_HITS: i64 = 1_000_000_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// `NAMESPACE/POLICY/HASH`: of what the rule counts, not of how much it allows, so that a changed limit finds the
    /// counts of the one before.
    pub id: String,
    /// The policy that says it, and where.
    pub policy: ObjectId,
    pub path: FieldPath,
    /// A backend, and maybe a model, that the rule is about; none for rules about requests.
    pub about: Option<About>,
    pub conditions: Vec<Condition>,
    pub requests: u32,
    pub unit: RateLimitUnit,
    /// Where a request may bring a limit of its own.
    pub brought: Option<Place>,
    pub shared: bool,
    pub shadow: bool,
    pub headers: XRateLimitOption,
    pub request: Hits,
    pub response: Option<Hits>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub backend: ObjectId,
    /// The model as the server knows it.
    pub model: Option<SmolStr>,
}

impl About {
    /// The backend as costs and counters call it.
    pub(crate) fn backend_name(&self) -> String {
        format!("{}.{}", self.backend.name, self.backend.namespace)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hits {
    Number(u32),
    /// As many as stand in dynamic metadata.
    Noted(Place),
}

/// An entry of dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub namespace: String,
    pub key: String,
}

impl Rule {
    pub(super) fn read(policy: &ObjectId, path: &FieldPath, written: &RateLimitRule) -> Result<Self, Problem> {
        let limit = &written.limit;
        let base = path.field("limit");
        let requests = u32::try_from(limit.requests)
            .map_err(|_| Problem::wrong(base.field("requests"), "more than can be counted"))?;
        let Some(unit) = limit.unit else {
            return Err(Problem::wrong(base.field("unit"), "a limit is for a unit of time"));
        };
        let conditions = condition::of(&written.client_selectors, &path.field("clientSelectors"))?;
        let cost = written.cost.as_ref();
        let base = path.field("cost");
        let request = cost.and_then(|cost| cost.request.as_ref());
        let response = cost.and_then(|cost| cost.response.as_ref());
        let shared = written.shared == Some(true);
        Ok(Self {
            id: format!("{}/{}/{:016x}", policy.namespace, policy.name, identity(written, shared)),
            policy: policy.clone(),
            path: path.clone(),
            about: None,
            conditions,
            requests,
            unit,
            brought: limit.from_metadata.as_ref().map(|from| place(from, &base.field("fromMetadata"))).transpose()?,
            shared,
            shadow: written.shadow_mode == Some(true),
            headers: match written.x_rate_limit_headers {
                None => XRateLimitOption::Unspecified,
                Some(XRateLimitHeaders::Off) => XRateLimitOption::Off,
                Some(XRateLimitHeaders::DraftVersion03) => XRateLimitOption::DraftVersion03,
            },
            request: request.map_or(Ok(Hits::Number(1)), |cost| hits(cost, &base.field("request")))?,
            response: response.map(|cost| hits(cost, &base.field("response"))).transpose()?,
        })
    }
}

/// What makes a rule the same one after an edit.
fn identity(written: &RateLimitRule, shared: bool) -> u64 {
    let text = json!([written.client_selectors, written.limit.unit, written.cost, shared]).to_string();
    xxh3_64(text.as_bytes())
}

fn hits(written: &RateLimitCostOf, path: &FieldPath) -> Result<Hits, Problem> {
    match (written.from, &written.metadata, written.number) {
        (Some(RateLimitCostFrom::Metadata), Some(from), _) => place(from, &path.field("metadata")).map(Hits::Noted),
        (Some(RateLimitCostFrom::Metadata), None, _) => {
            Err(Problem::wrong(path.field("metadata"), "which metadata holds the cost is not said"))
        }
        (_, _, Some(number)) if (0..=MOST_HITS).contains(&number) => {
            Ok(Hits::Number(u32::try_from(number).unwrap_or_default()))
        }
        (_, _, Some(_)) => {
            Err(Problem::wrong(path.field("number"), format!("a cost is a number from 0 to {MOST_HITS}")))
        }
        (_, _, None) => Err(Problem::wrong(path.field("number"), "how much it costs is not said")),
    }
}

fn place(written: &RateLimitMetadata, path: &FieldPath) -> Result<Place, Problem> {
    let plain = |text: &str| !text.is_empty() && !text.contains([':', '%', '(', ')']);
    for (field, text) in [("namespace", &written.namespace), ("key", &written.key)] {
        if !plain(text) {
            let message = "a name of metadata holds none of `:`, `%`, `(` and `)`";
            return Err(Problem::wrong(path.field(field), message));
        }
    }
    Ok(Place { namespace: written.namespace.to_string(), key: written.key.to_string() })
}
