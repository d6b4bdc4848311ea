//! Policies that do nothing but limit: kgateway's RateLimitPolicy, and QuotaPolicy about what backends may be asked for.
//!
//! A quota is spent by what its expression says a request cost, and by nothing else; a request takes room in every bucket
//! that is for it, and passes while one of them has room. Of several backends, those that have none left are passed over.

use kinds::ai::{BucketRule, ModelQuota, QuotaPolicySpec, QuotaValue};
use kinds::envoy_gateway::{RateLimitSelector, RateLimitUnit};
use kinds::kgateway::RateLimitPolicySpec;
use kinds::{FieldPath, Kind, ObjectId};
use serde_json::json;
use smol_str::SmolStr;
use xds_api::envoy::config::route::v3::rate_limit::XRateLimitOption;
use xxhash_rust::xxh3::xxh3_64;

use super::rule::{About, Hits, Place, Rule};
use super::{Limits, condition};
use crate::ai::{COSTS, cost_expression};
use crate::engine::View;
use crate::graph::{Role, Target, Verdict};
use crate::policy::Problem;

const USUAL_COST: &str = "total_tokens";

/// None where nothing is limited.
pub(crate) fn of_limiting(policy: &ObjectId, view: &View<'_>, problems: &mut Vec<Problem>) -> Option<Limits> {
    let mut limits = Limits::default();
    match policy.kind {
        Kind::RateLimitPolicy => requests(policy, view, &mut limits, problems),
        Kind::QuotaPolicy => quotas(policy, view, &mut limits, problems),
        _ => {}
    }
    (!limits.rules.is_empty()).then_some(limits)
}

/// A rule without conditions.
fn plain(policy: &ObjectId, id: u64, path: FieldPath, requests: u32, unit: RateLimitUnit) -> Rule {
    Rule {
        id: format!("{}/{}/{id:016x}", policy.namespace, policy.name),
        policy: policy.clone(),
        path,
        about: None,
        conditions: Vec::new(),
        requests,
        unit,
        brought: None,
        shared: false,
        shadow: false,
        headers: XRateLimitOption::Unspecified,
        request: Hits::Number(1),
        response: None,
    }
}

fn requests(policy: &ObjectId, view: &View<'_>, limits: &mut Limits, problems: &mut Vec<Problem>) {
    let Some(spec) = view.spec::<RateLimitPolicySpec>(policy) else { return };
    for (index, written) in spec.limits.iter().enumerate() {
        let path = FieldPath::from("spec.limits").index(index);
        let Some(unit) = unit(&written.unit) else {
            let message = format!("`{}` is not second, minute, hour, day, week, month or year", written.unit);
            problems.push(Problem::wrong(path.field("unit"), message));
            continue;
        };
        let Ok(requests) = u32::try_from(written.requests) else {
            problems.push(Problem::wrong(path.field("requests"), "more than can be counted"));
            continue;
        };
        let id = xxh3_64(json!(["requests", unit]).to_string().as_bytes());
        limits.add(plain(policy, id, path, requests, unit));
    }
}

fn unit(word: &str) -> Option<RateLimitUnit> {
    Some(match word.to_ascii_lowercase().trim_end_matches('s') {
        "second" => RateLimitUnit::Second,
        "minute" => RateLimitUnit::Minute,
        "hour" => RateLimitUnit::Hour,
        "day" => RateLimitUnit::Day,
        "week" => RateLimitUnit::Week,
        "month" => RateLimitUnit::Month,
        "year" => RateLimitUnit::Year,
        _ => return None,
    })
}

fn quotas(policy: &ObjectId, view: &View<'_>, limits: &mut Limits, problems: &mut Vec<Problem>) {
    let Some(spec) = view.spec::<QuotaPolicySpec>(policy) else { return };
    let targets = view.references(policy).filter_map(|edge| match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) if edge.role == Role::PolicyTarget => Some(id),
        _ => None,
    });
    let backends: Vec<&ObjectId> = targets.filter(|id| id.kind == Kind::AiServiceBackend).collect();
    let mut quota = Quotas { policy, limits, problems };
    if let Some(service) = &spec.service_quota {
        let path = FieldPath::from("spec.serviceQuota");
        if let Some(value) = &service.quota {
            let cost = quota.cost(service.cost_expression.as_deref(), &path);
            for backend in &backends {
                quota.bucket(backend, None, &cost, value, &BucketRule::default(), &path);
            }
        }
    }
    for (index, written) in spec.per_model_quotas.iter().enumerate() {
        let path = FieldPath::from("spec.perModelQuotas").index(index);
        if written.model_name.contains('*') {
            let message = "a model's name with `*` would stand for others too";
            quota.problems.push(Problem::unsupported(path.field("modelName"), message));
            continue;
        }
        quota.model(&backends, &written.model_name, &written.quota, &path.field("quota"));
    }
}

struct Quotas<'a> {
    policy: &'a ObjectId,
    limits: &'a mut Limits,
    problems: &'a mut Vec<Problem>,
}

impl Quotas<'_> {
    /// The name of the cost that an expression works out.
    fn cost(&mut self, expression: Option<&str>, path: &FieldPath) -> SmolStr {
        let expression = expression.unwrap_or(USUAL_COST);
        let key = SmolStr::from(format!("quota.{:016x}", xxh3_64(expression.as_bytes())));
        match cost_expression(expression) {
            Ok(body) => {
                self.limits.costs.insert(key.clone(), body);
            }
            Err(message) => self.problems.push(Problem::wrong(path.field("costExpression"), message)),
        }
        key
    }

    fn model(&mut self, backends: &[&ObjectId], model: &SmolStr, written: &ModelQuota, path: &FieldPath) {
        let cost = self.cost(written.cost_expression.as_deref(), path);
        for backend in backends {
            for (index, bucket) in written.bucket_rules.iter().enumerate() {
                let path = path.field("bucketRules").index(index);
                if let Some(value) = &bucket.quota {
                    self.bucket(backend, Some(model), &cost, value, bucket, &path);
                }
            }
            if let Some(value) = &written.default_bucket {
                self.bucket(backend, Some(model), &cost, value, &BucketRule::default(), &path.field("defaultBucket"));
            }
        }
    }

    fn bucket(
        &mut self,
        backend: &ObjectId,
        model: Option<&SmolStr>,
        cost: &SmolStr,
        value: &QuotaValue,
        written: &BucketRule,
        path: &FieldPath,
    ) {
        let wrong = |field: &str, message: &str| Problem::wrong(path.field(field), message);
        let unit = match value.duration.as_str() {
            "1s" => RateLimitUnit::Second,
            "1m" => RateLimitUnit::Minute,
            "1h" => RateLimitUnit::Hour,
            "1d" => RateLimitUnit::Day,
            _ => return self.problems.push(wrong("duration", "a quota is for 1s, 1m, 1h or 1d")),
        };
        let Ok(requests) = u32::try_from(value.limit) else {
            return self.problems.push(wrong("limit", "more than can be counted"));
        };
        let selectors: &[RateLimitSelector] = &written.client_selectors;
        let conditions = match condition::of(selectors, &path.field("clientSelectors")) {
            Ok(conditions) => conditions,
            Err(problem) => return self.problems.push(problem),
        };
        let identity = json!([backend.to_string(), model, selectors, value.duration, cost]).to_string();
        self.limits.add(Rule {
            about: Some(About { backend: backend.clone(), model: model.cloned() }),
            conditions,
            // One quota wherever its backend is asked.
            shared: true,
            shadow: written.shadow_mode == Some(true),
            request: Hits::Number(0),
            response: Some(Hits::Noted(Place { namespace: COSTS.to_owned(), key: cost.to_string() })),
            ..plain(self.policy, xxh3_64(identity.as_bytes()), path.clone(), requests, unit)
        });
    }
}
