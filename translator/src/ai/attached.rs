//! An AIGatewayRoute's rules as one listener serves them: Envoy routes by model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinds::ai::{AiGatewayRouteSpec, AiRouteMatch, AiRouteRule, MODEL_HEADER};
use kinds::gateway::{HeaderMatchType, HttpHeaderMatch};
use kinds::{Diagnostic, FieldPath, Object, ObjectId};
use prost::Message;
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::core::v3::HeaderValueOption;
use xds_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use xds_api::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryPriority, retry_priority};
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use xds_api::envoy::config::route::v3::route_match::PathSpecifier;
use xds_api::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use xds_api::envoy::config::route::v3::{RetryPolicy, Route, RouteAction, RouteMatch, WeightedCluster};
use xds_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use xds_api::google::protobuf::Any;

use super::api::Api;
use super::backends::{self, Share};
use super::cluster::unedited;
use super::costs::{Costs, Estimate};
use super::edits::{EDITS_HEADER, Edits};
use super::filters::{QUOTAS, USAGE};
use super::host::{Listed, seconds};
use super::pre_route::text;
use super::quota::{Quotas, SKIP_HEADER};
use super::tables::{ModelKey, answer, found};
use crate::attach::PlannedListener;
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{ClusterId, ClusterName, Member, Shard, UNRESOLVED_CLUSTER, connected_as};
use crate::policy::external::EXTENSIONS;
use crate::policy::limits::Costed;
use crate::render::build::{boolean, duration, header as set_header, uint32};
use crate::render::filters::presence;
use crate::routing::{AttachedRules, Precedence, RulePolicies, Ruled, exactly, headers, literal, matching};

/// By which the families of APIs are told apart.
pub(super) const API_HEADER: &str = "x-chancery-api";
/// The time that a request has where nobody says otherwise.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AiRules {
    pub by_model: BTreeMap<SmolStr, Vec<AiRoute>>,
    /// Of rules that match models by pattern, or any.
    pub any: Vec<AiRoute>,
    pub listed: Vec<Listed>,
    /// What says who may come in, for answers that no rule gives.
    pub guards: BTreeMap<String, Any>,
    /// Orders for filters that stand before the one that reads the model.
    pub before: BTreeMap<String, Any>,
    /// Whether answers to some of its requests are counted.
    pub counted: bool,
    /// What limits hold of a request before it is answered.
    pub estimates: BTreeSet<Estimate>,
}

/// What the routes of a Gateway need besides themselves.
struct Needs<'a> {
    gateway: &'a ObjectId,
    clusters: BTreeSet<ClusterId>,
    /// That filters are used.
    filters: BTreeSet<UnitId>,
}

impl Needs<'_> {
    /// A route as it goes into a table.
    fn encoded(&mut self, route: &Route) -> Bytes {
        self.filters.extend(presence::used_by(self.gateway, route));
        route.encode_to_vec().into()
    }
}

/// One match of a rule: the Envoy routes for it, one for each family of APIs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AiRoute {
    pub precedence: Precedence,
    pub model: ModelMatch,
    /// Whether it looks at nothing but the model.
    pub model_only: bool,
    pub bodies: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ModelMatch {
    Named(SmolStr),
    Pattern(SmolStr),
    Any,
}

impl ModelMatch {
    pub(crate) fn may_be(&self, model: &str) -> bool {
        match self {
            Self::Named(name) => name == model,
            // Envoy has the last word; a pattern that only it understands stays in.
            Self::Pattern(pattern) => {
                regex::Regex::new(&format!("^(?:{pattern})$")).map_or(true, |pattern| pattern.is_match(model))
            }
            Self::Any => true,
        }
    }
}

impl AiRoute {
    pub(crate) fn takes_all(&self, model: &str) -> bool {
        self.model_only
            && match &self.model {
                ModelMatch::Named(name) => name == model,
                ModelMatch::Any => true,
                ModelMatch::Pattern(_) => false,
            }
    }
}

pub(crate) fn evaluate(
    route: &Object,
    listener: &PlannedListener,
    hostnames: Vec<SmolStr>,
    ruled: &Ruled<'_>,
    view: &View<'_>,
) -> Outcome {
    let Some(spec) = route.spec::<AiGatewayRouteSpec>() else { return Outcome::default() };
    let before = ruled.extensions.orders.iter().map(|order| (EXTENSIONS.to_owned(), order.clone()));
    let mut rules = AiRules { before: before.collect(), ..AiRules::default() };
    let gateway = &listener.id.gateway;
    let mut needs = Needs { gateway, clusters: BTreeSet::new(), filters: BTreeSet::new() };
    for (index, rule) in spec.rules.iter().enumerate() {
        let policies = ruled.rule(index);
        if rules.guards.is_empty() {
            let mut guarded = Route::default();
            policies.guard(&mut guarded);
            rules.guards = guarded.typed_per_filter_config;
        }
        rules.counted |= policies.counting().is_some();
        rules.estimates.extend(policies.estimates());
        take(route, index, rule, &policies, &mut rules, &mut needs, view);
    }
    let hcm = &listener.hcm;
    let mut demands = Vec::new();
    for host in &hostnames {
        let shard = Shard::of(host);
        demands.push(UnitId::Table(hcm.clone(), shard));
        if shard != Shard::Default {
            demands.push(UnitId::Scope(hcm.clone(), host.clone()));
        }
        demands.push(UnitId::AiHost(hcm.clone(), host.clone()));
        demands.push(UnitId::AiList(hcm.clone(), host.clone()));
        for model in rules.by_model.keys() {
            let key = ModelKey::Named(model.clone());
            demands.push(UnitId::ModelTable(hcm.clone(), host.clone(), key.clone()));
            demands.push(UnitId::ModelScope(hcm.clone(), host.clone(), key));
        }
    }
    needs.clusters.extend(ruled.extensions.clusters.iter().cloned());
    demands.extend(needs.clusters.into_iter().map(|id| UnitId::Cluster(gateway.clone(), id)));
    demands.extend(needs.filters);
    // Orders that stand in routes made elsewhere: for every path of an API, and for answers that no rule gives.
    demands.extend(rules.before.keys().chain(rules.guards.keys()).filter_map(|name| presence::used(gateway, name)));
    let product = AttachedRules { hostnames, ai: Some(Arc::new(rules)), ..AttachedRules::default() };
    let diagnostics = ruled.unlisted_costs().iter().filter_map(|needed| unlisted(route, needed, view)).collect();
    Outcome { product: Product::Attached(product.into()), demands, diagnostics }
}

/// What is said of a cost that a limit needs and the route does not list.
fn unlisted(route: &Object, needed: &Costed<'_>, view: &View<'_>) -> Option<Diagnostic> {
    let policy = view.object(&needed.rule.policy)?;
    let field = needed.rule.path.field("cost").field("response").field("metadata").field("key");
    let (at, key, id) = (place(policy, field.as_str()), &needed.key, &route.id);
    let finding = if Costs::speaks(key) {
        let message = format!("{id} does not list the cost `{key}`: it is counted as its name says");
        Diagnostic::warning("cost-not-listed", at, message)
    } else {
        let message = format!("{id} does not produce the cost `{key}`: a limit on it would never be reached");
        Diagnostic::error("cost-not-produced", at, message)
    };
    let help = if Costs::speaks(key) { "" } else { "; until then its requests are answered 500" };
    Some(finding.about(&policy.id).help(format!("list it in spec.llmRequestCosts of the route{help}")))
}

fn take(
    route: &Object,
    index: usize,
    rule: &AiRouteRule,
    policies: &RulePolicies<'_>,
    rules: &mut AiRules,
    needs: &mut Needs<'_>,
    view: &View<'_>,
) {
    let base = FieldPath::from("spec.rules").index(index).field("backendRefs");
    let shares: Vec<(usize, Option<Share>)> = rule
        .backend_refs
        .iter()
        .enumerate()
        .map(|(at, reference)| (at, backends::resolve(route, &base.index(at), reference, view).ok()))
        .collect();
    let everything = [AiRouteMatch::default()];
    let written = if rule.matches.is_empty() { &everything[..] } else { &rule.matches[..] };
    for (position, one) in written.iter().enumerate() {
        let named = one.headers.iter().find(|header| header.name.eq_ignore_ascii_case(MODEL_HEADER));
        let model = match named {
            Some(HttpHeaderMatch { kind: HeaderMatchType::Exact, value, .. }) => ModelMatch::Named(value.clone()),
            Some(HttpHeaderMatch { kind: HeaderMatchType::RegularExpression, value, .. }) => {
                ModelMatch::Pattern(value.clone())
            }
            None => ModelMatch::Any,
        };
        // The scope has matched an exact model already.
        let rest: Vec<HttpHeaderMatch> = one
            .headers
            .iter()
            .filter(|header| !(header.kind == HeaderMatchType::Exact && header.name.eq_ignore_ascii_case(MODEL_HEADER)))
            .cloned()
            .collect();
        let mut precedence = Precedence::of(route, index, position);
        precedence.headers = Reverse(one.headers.len());
        let matched = RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            headers: headers(&rest),
            ..RouteMatch::default()
        };
        let name = format!("aigatewayroute/{}/{}/rule/{index}/match/{position}", route.id.namespace, route.id.name);
        let bodies = bodies(&name, &matched, &model, rule, &shares, policies, needs);
        let model_only = one.headers.len() == usize::from(named.is_some());
        let ai = AiRoute { precedence, model: model.clone(), model_only, bodies };
        match model {
            ModelMatch::Named(model) => {
                let created = rule.models_created_at.as_ref().or(route.meta.created.as_ref());
                rules.listed.push(Listed {
                    model: model.clone(),
                    owner: rule.models_owned_by.clone(),
                    created: created.and_then(|time| seconds(time)).unwrap_or(0),
                });
                rules.by_model.entry(model).or_default().push(ai);
            }
            ModelMatch::Pattern(_) | ModelMatch::Any => rules.any.push(ai),
        }
    }
}

/// A route for each family of APIs that a share speaks, and an answer for the others.
fn bodies(
    name: &str,
    matched: &RouteMatch,
    model: &ModelMatch,
    rule: &AiRouteRule,
    shares: &[(usize, Option<Share>)],
    policies: &RulePolicies<'_>,
    needs: &mut Needs<'_>,
) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    let mut served = 0;
    for api in Api::ALL {
        // A share that leads nowhere keeps its part of the requests of every family, answered 500.
        let speaks = |share: &Option<Share>| share.as_ref().is_none_or(|share| share.apis.contains(&api));
        let able: Vec<&(usize, Option<Share>)> = shares.iter().filter(|(_, share)| speaks(share)).collect();
        if able.is_empty() && !shares.is_empty() {
            continue;
        }
        served += 1;
        let quotas = Quotas::of(model, rule, &able, policies);
        let mut matched = matched.clone();
        matched.headers.push(matching(API_HEADER, exactly(api.name())));
        let mut metadata = found(name);
        if let Some(mut counting) = policies.counting() {
            if let Some((orders, all)) = quotas.orders() {
                let told = counting.filter_metadata.entry(QUOTAS.to_owned()).or_default();
                told.fields.insert("quotas".to_owned(), text(&orders));
                told.fields.insert("all".to_owned(), text(&all));
            }
            if let Some(told) = counting.filter_metadata.get_mut(USAGE) {
                let named = if let ModelMatch::Named(model) = model { model.as_str() } else { "(other)" };
                told.fields.insert("model".to_owned(), text(named));
            }
            metadata.filter_metadata.extend(counting.filter_metadata);
        }
        let route = Route {
            name: format!("{name}/{}", api.name()),
            r#match: Some(matched),
            metadata: Some(metadata),
            ..Route::default()
        };
        let mut finished = |mut route: Route, able: &[&(usize, Option<Share>)]| {
            route = forwarding(route, api, rule, able, policies, &mut needs.clusters);
            if !policies.refused() {
                policies.apply_with(&mut route, rule.name.as_deref(), &quotas.asked);
                // A key for this gateway is nothing for a provider.
                route.request_headers_to_remove.extend(policies.key_headers().iter().cloned());
            }
            needs.encoded(&route)
        };
        for (mask, skipped) in quotas.variants() {
            let left: Vec<_> = able.iter().copied().filter(|(at, _)| !skipped.contains(at)).collect();
            let mut variant = route.clone();
            variant.name = format!("{}/skip/{mask}", route.name);
            if let Some(matched) = &mut variant.r#match {
                matched.headers.push(matching(SKIP_HEADER, exactly(&mask.to_string())));
            }
            bodies.push(finished(variant, &left));
        }
        bodies.push(finished(route, &able));
    }
    if served < Api::ALL.len() {
        let message = "No backend of this model understands the API of this path.";
        let mut refusal = answer("untranslated", 422, message, "invalid_request_error", "unsupported_api");
        refusal.r#match = Some(matched.clone());
        policies.guard(&mut refusal);
        bodies.push(needs.encoded(&refusal));
    }
    bodies
}

/// What a rule is made of for one family of APIs: priority, weight, and the share if it leads anywhere.
type Weighted<'a> = (u32, u32, Option<&'a Share>);

fn forwarding(
    route: Route,
    api: Api,
    rule: &AiRouteRule,
    shares: &[&(usize, Option<Share>)],
    policies: &RulePolicies<'_>,
    clusters: &mut BTreeSet<ClusterId>,
) -> Route {
    let weighted: Vec<Weighted<'_>> = shares
        .iter()
        .filter_map(|(at, share)| {
            let written = rule.backend_refs.get(*at)?;
            Some((written.priority, written.weight, share.as_ref()))
        })
        .filter(|(_, weight, _)| *weight > 0)
        .collect();
    if policies.refused() || weighted.iter().all(|(_, _, share)| share.is_none()) {
        let message = "The backends of this model cannot be resolved.";
        let refused = answer("unresolved", 500, message, "server_error", "no_backend");
        return Route { r#match: route.r#match, name: route.name, ..refused };
    }
    let cluster = |name: ClusterName| connected_as(name.into(), policies.settings());
    let priorities: BTreeSet<u32> = weighted.iter().map(|(priority, _, _)| *priority).collect();
    let takeover = priorities.len() > 1;
    let mut route = route;
    let specifier = if takeover {
        let mut members: Vec<(u32, u32, &Share)> =
            weighted.iter().filter_map(|(priority, weight, share)| Some((*priority, *weight, (*share)?))).collect();
        members.sort_by_key(|(priority, _, _)| *priority);
        let edits: Vec<String> =
            members.iter().enumerate().map(|(at, (_, _, share))| edits(share, policies).encode(at)).collect();
        route.request_headers_to_add.push(edits_header(&edits.join(";")));
        let members = members.into_iter().map(|(priority, weight, share)| Member {
            backend: share.backend.clone(),
            port: None,
            priority,
            weight,
        });
        let id = ClusterName::taking_over(members.collect()).map(cluster);
        clusters.extend(id.clone());
        ClusterSpecifier::Cluster(id.map_or(UNRESOLVED_CLUSTER.to_owned(), |id| id.to_string()))
    } else {
        let weights = weighted.iter().map(|(_, weight, share)| {
            let id = share.map(|share| cluster(ClusterName::of_backend(share.backend.clone())));
            clusters.extend(id.clone());
            let mut entry = ClusterWeight {
                name: id.map_or(UNRESOLVED_CLUSTER.to_owned(), |id| id.to_string()),
                weight: Some(uint32(*weight)),
                ..ClusterWeight::default()
            };
            let Some(share) = share else { return entry };
            clusters.extend(share.wishes.clusters.iter().cloned());
            let edits = edits(share, policies);
            if edits.any(api) {
                entry.request_headers_to_add.push(edits_header(&edits.encode(0)));
                return share.wishes.put_on_edited(entry);
            }
            if !share.wishes.edits() {
                entry.typed_per_filter_config.extend([unedited()]);
            }
            share.wishes.put_on(entry)
        });
        ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: weights.collect(),
            ..WeightedCluster::default()
        })
    };
    if !takeover {
        // Backends without weight have clusters as well: they may be given weight at any time.
        let all = shares.iter().filter_map(|(_, share)| share.as_ref());
        clusters.extend(all.map(|share| cluster(ClusterName::of_backend(share.backend.clone()))));
    }
    let mut action = RouteAction {
        cluster_specifier: Some(specifier),
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError as i32,
        host_rewrite_specifier: Some(HostRewriteSpecifier::AutoHostRewrite(boolean(true))),
        timeout: Some(duration(USUAL_TIMEOUT)),
        retry_policy: Some(if takeover { take_over(weighted.len()) } else { safe_retries() }),
        ..RouteAction::default()
    };
    policies.apply_to_action(&mut action);
    timeouts(rule, &weighted, takeover, &mut action);
    route.action = Some(Action::Route(action));
    route
}

/// The edits of a share; where answers are counted, with the name of its backend.
fn edits(share: &Share, policies: &RulePolicies<'_>) -> Edits {
    let mut edits = share.edits.clone();
    if policies.counting().is_some() {
        edits.counted = Some(format!("{}.{}", share.backend.name, share.backend.namespace));
    }
    edits
}

/// A rule's own times stand before those of a policy.
fn timeouts(rule: &AiRouteRule, weighted: &[Weighted<'_>], takeover: bool, action: &mut RouteAction) {
    let older = weighted.iter().find_map(|(_, _, share)| share.and_then(|share| share.timeouts.as_ref()));
    let timeouts = rule.timeouts.as_ref().or(older);
    if let Some(request) = timeouts.and_then(|timeouts| timeouts.request) {
        action.timeout = Some(duration(request.0));
    }
    let Some(retry) = &mut action.retry_policy else { return };
    if takeover {
        // Whatever a policy says of retries, the next backend is another one.
        retry.retry_priority = Some(next_priority());
    }
    if let Some(attempt) = timeouts.and_then(|timeouts| timeouts.backend_request) {
        retry.per_try_timeout = Some(duration(attempt.0));
    }
    if let Some(idle) = rule.stream_idle_timeout {
        retry.per_try_idle_timeout = Some(duration(idle.0));
    }
}

pub(super) fn edits_header(edits: &str) -> HeaderValueOption {
    set_header(EDITS_HEADER, &literal(edits), HeaderAppendAction::OverwriteIfExistsOrAdd)
}

/// Each backend is asked once, the next one as soon as one fails or is too busy.
fn take_over(members: usize) -> RetryPolicy {
    let others = u32::try_from(members.saturating_sub(1)).unwrap_or(1);
    RetryPolicy {
        retry_on: "5xx,connect-failure,refused-stream,reset,retriable-status-codes".to_owned(),
        retriable_status_codes: vec![429],
        num_retries: Some(uint32(others.max(1))),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(duration(Duration::from_millis(10))),
            max_interval: Some(duration(Duration::from_millis(50))),
        }),
        retry_priority: Some(next_priority()),
        ..RetryPolicy::default()
    }
}

/// Attempts that certainly did not reach a model.
fn safe_retries() -> RetryPolicy {
    RetryPolicy {
        retry_on: "connect-failure,refused-stream".to_owned(),
        num_retries: Some(uint32(2)),
        ..RetryPolicy::default()
    }
}

fn next_priority() -> RetryPriority {
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(any(&PreviousPrioritiesConfig {
            update_frequency: 1,
        }))),
    }
}
