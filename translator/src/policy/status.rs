//! What the author of a policy is told: for each ancestor whether the policy is in force, where it gives way, to whom, and
//! what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use kinds::{Diagnostic, Kind, Object, ObjectId};
use serde_json::{Value, json};
use smol_str::SmolStr;

use super::targets::{self, PolicyTarget};
use super::{Overridden, Policies, Problem, Targets};
use crate::attach::{Parents, Plan, gateway_of};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::graph::{Role, Target, Verdict};
use crate::status::{Condition, ParentStatus, Status};

/// As many ancestors as a status can hold.
const MOST: usize = 16;

pub(crate) fn evaluate(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let found = view.made::<Targets>(UnitId::Targets(id.clone()));
    let found = found.map(|targets| targets.0.as_slice()).unwrap_or_default();
    let problems = problems(id, view);
    let given = view.made::<Overridden>(UnitId::Overridden(id.clone()));
    let mut diagnostics = missing(object, view);
    diagnostics.extend(problems.iter().map(|problem| {
        let code = if problem.unsupported { "unsupported-field" } else { "invalid-policy" };
        let finding = Diagnostic::error(code, place(object, problem.path.as_str()), problem.message.clone()).about(id);
        match (id.kind, problem.unsupported) {
            (Kind::SecurityPolicy | Kind::BackendTrafficPolicy, _) => {
                finding.help("until then the routes that it is about answer 500")
            }
            _ => finding,
        }
    }));
    let mut ancestors: BTreeMap<(ObjectId, Option<SmolStr>), ParentStatus> = BTreeMap::new();
    for target in found {
        let older = older(id, target, view);
        if let Some(older) = older {
            let message = format!("{} has {older} already, which is older", words(target));
            diagnostics.push(
                Diagnostic::warning("policy-conflict", place(object, target.path.as_str()), message)
                    .about(id)
                    .help("the older policy is in force: merge the two, or choose other targets"),
            );
        }
        for ancestor in reached(target, view) {
            let Some(controller) = controller(&ancestor.gateway, view) else { continue };
            let mut conditions = vec![accepted(target, older, &problems)];
            conditions.extend(gives_way(&ancestor, target, given));
            let reference = ancestor.reference();
            ancestors.entry((ancestor.object, ancestor.section)).or_insert(ParentStatus {
                reference,
                controller,
                conditions,
            });
        }
    }
    if let Some(given) = given.filter(|given| !given.0.is_empty()) {
        diagnostics.push(overridden(object, given));
    }
    let ancestors: Vec<_> = ancestors.into_values().take(MOST).collect();
    let product = if ancestors.is_empty() {
        Product::Nothing
    } else {
        Product::Status(Status { generation: object.meta.generation, ancestors, ..Status::default() }.into())
    };
    Outcome { product, demands: Vec::new(), diagnostics }
}

fn problems(id: &ObjectId, view: &View<'_>) -> Vec<Problem> {
    match id.kind {
        Kind::SecurityPolicy => super::security::problems(id, view),
        Kind::BackendTrafficPolicy => super::traffic::problems(id, view),
        Kind::ClientTrafficPolicy => super::client::problems(id, view),
        _ => Vec::new(),
    }
}

/// The policy of the same kind that was there first.
fn older<'a>(id: &ObjectId, target: &PolicyTarget, view: &View<'a>) -> Option<&'a ObjectId> {
    let policies = view.made::<Policies>(UnitId::Policies(target.object.clone()))?;
    policies.winner(id.kind, target.section.as_deref()).filter(|winner| *winner != id)
}

fn accepted(target: &PolicyTarget, older: Option<&ObjectId>, problems: &[Problem]) -> Condition {
    if let Some(older) = older {
        return Condition::no("Accepted", "Conflicted", format!("{older} is in force for {}", words(target)));
    }
    if problems.is_empty() {
        return Condition::yes("Accepted", "Accepted", format!("in force for {}", words(target)));
    }
    let message: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    Condition::no("Accepted", "Invalid", message.join("; "))
}

fn words(target: &PolicyTarget) -> String {
    match &target.section {
        Some(section) => format!("{section} of {}", target.object),
        None => target.object.to_string(),
    }
}

/// A Gateway, a ListenerSet or a listener of one, through which a policy matters.
struct Ancestor {
    gateway: ObjectId,
    object: ObjectId,
    section: Option<SmolStr>,
}

impl Ancestor {
    fn reference(&self) -> Value {
        let mut reference = json!({
            "group": self.object.kind.group(),
            "kind": self.object.kind.name(),
            "namespace": self.object.namespace,
            "name": self.object.name,
        });
        if let (Some(section), Some(fields)) = (&self.section, reference.as_object_mut()) {
            fields.insert("sectionName".to_owned(), json!(section));
        }
        reference
    }
}

fn reached(target: &PolicyTarget, view: &View<'_>) -> Vec<Ancestor> {
    let object = target.object.clone();
    match object.kind {
        Kind::Gateway => vec![Ancestor { gateway: object.clone(), object, section: target.section.clone() }],
        Kind::ListenerSet => {
            let gateway = gateway_of(&object, view);
            gateway.map(|gateway| Ancestor { gateway, object, section: target.section.clone() }).into_iter().collect()
        }
        _ => {
            let Some(parents) = view.made::<Parents>(UnitId::Parents(object.clone())) else { return Vec::new() };
            let Some(route) = view.object(&object) else { return Vec::new() };
            let refs = crate::attach::parent_refs(route);
            let ancestor = |parent: &crate::attach::Parent| {
                let reference = refs.get(parent.index)?;
                let kind = Kind::lookup(&reference.group, &reference.kind)?;
                let namespace = reference.namespace.clone().unwrap_or_else(|| object.namespace.clone());
                Some(Ancestor {
                    gateway: parent.gateway.clone(),
                    object: ObjectId::new(kind, namespace, reference.name.clone()),
                    section: reference.section_name.clone(),
                })
            };
            parents.0.iter().filter(|parent| parent.refusal.is_none()).filter_map(ancestor).collect()
        }
    }
}

fn controller(gateway: &ObjectId, view: &View<'_>) -> Option<SmolStr> {
    let plan = view.made::<Plan>(UnitId::Plan(gateway.clone()))?;
    plan.ours.then(|| plan.controller.clone())
}

fn gives_way(ancestor: &Ancestor, target: &PolicyTarget, given: Option<&Overridden>) -> Vec<Condition> {
    let here = given.into_iter().flat_map(|given| &given.0).filter(|given| {
        given.listener.gateway == ancestor.gateway
            && ancestor.section.as_ref().is_none_or(|section| given.listener.section == *section)
            && (matches!(target.object.kind, Kind::Gateway | Kind::ListenerSet) || given.route == target.object)
    });
    let mut overridden = BTreeSet::new();
    let mut merged = BTreeSet::new();
    for given in here {
        let words = format!("{} (by {})", given.route, given.winner);
        if given.merged {
            merged.insert(words)
        } else {
            overridden.insert(words)
        };
    }
    let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
    let mut conditions = Vec::new();
    if !overridden.is_empty() {
        conditions.push(Condition::yes("Overridden", "Overridden", format!("not in force for {}", list(overridden))));
    }
    if !merged.is_empty() {
        conditions.push(Condition::yes("Merged", "Merged", format!("laid under another for {}", list(merged))));
    }
    conditions
}

fn overridden(object: &Object, given: &Overridden) -> Diagnostic {
    let mut routes: BTreeMap<(&ObjectId, bool), BTreeSet<&ObjectId>> = BTreeMap::new();
    for given in &given.0 {
        routes.entry((&given.winner, given.merged)).or_default().insert(&given.route);
    }
    let words = routes.iter().map(|((winner, merged), routes)| {
        let list: Vec<_> = routes.iter().take(4).map(ToString::to_string).collect();
        let more =
            if routes.len() > list.len() { format!(" and {} more", routes.len() - list.len()) } else { String::new() };
        let how = if *merged { "is merged with" } else { "replaces it" };
        format!("{winner} {how} for {}{more}", list.join(", "))
    });
    let message = words.collect::<Vec<_>>().join("; ");
    let target = crate::policy::status::target_path(object);
    Diagnostic::info("policy-overridden", place(object, target), message).about(&object.id)
}

pub(super) fn target_path(object: &Object) -> &'static str {
    match targets::written(object) {
        Some(written) if written.target_ref.is_some() => "spec.targetRef",
        Some(written) if !written.target_refs.is_empty() => "spec.targetRefs",
        _ => "spec.targetSelectors",
    }
}

/// Targets that are not there, or that no policy of the kind can be about.
fn missing(object: &Object, view: &View<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut named = false;
    for edge in view.references(&object.id).filter(|edge| edge.role == Role::PolicyTarget) {
        named = true;
        let at = place(object, edge.path.as_str());
        let finding = match (&edge.target, edge.verdict) {
            (Target::Object(id), Verdict::Allowed) if targets::fits(object.id.kind, id.kind) => continue,
            (Target::Object(id), Verdict::NotFound) if targets::by_model(id, view).is_some() => continue,
            (target, Verdict::NotFound) => {
                Diagnostic::warning("target-not-found", at, format!("{target} does not exist"))
                    .help("the policy is left aside until its target exists")
            }
            (target, _) => {
                let message = format!("a {} cannot be about {target}", object.id.kind);
                Diagnostic::error("invalid-target", at, message)
            }
        };
        found.push(finding.about(&object.id));
    }
    let selects = targets::written(object).is_some_and(|written| !written.target_selectors.is_empty());
    let empty = view.made::<Targets>(UnitId::Targets(object.id.clone())).is_none_or(|targets| targets.0.is_empty());
    if selects && !named && empty {
        let message = "no object has the labels that the policy selects";
        let finding = Diagnostic::warning("target-not-found", place(object, "spec.targetSelectors"), message);
        found.push(finding.about(&object.id));
    }
    found
}
