//! What holds for every case, whatever it is about.

use std::collections::BTreeSet;
use std::sync::Arc;

use kinds::Object;
use libtest_mimic::Failed;
use serde_json::Value;
use translator::{Change, Options, Translator, UNRESOLVED_CLUSTER};
use xds_api::{Resource, ResourceType, from_yaml, to_value, to_yaml, validate};

use crate::case::{Case, Made};

pub(crate) fn hold(case: &Case, made: &Made) -> Result<(), Failed> {
    any_order_gives_the_same(case, made)?;
    in_steps_gives_the_same(case, made)?;
    text_parses_back(made)?;
    field_rules_hold(made)?;
    no_name_dangles(made)?;
    every_finding_has_a_place(case, made)
}

fn any_order_gives_the_same(case: &Case, made: &Made) -> Result<(), Failed> {
    let mut backwards = case.objects.clone();
    backwards.reverse();
    let mut rotated = case.objects.clone();
    rotated.rotate_left(case.objects.len() / 2);
    for objects in [backwards, rotated] {
        let mut translator = Translator::new(Options::default());
        translator.apply(objects.into_iter().map(Change::Put));
        same(made, &Made::of(&translator), "another order of documents")?;
    }
    Ok(())
}

fn in_steps_gives_the_same(case: &Case, made: &Made) -> Result<(), Failed> {
    let mut translator = Translator::new(Options::default());
    for object in case.objects.iter().rev() {
        translator.apply([Change::Put(object.clone())]);
    }
    same(made, &Made::of(&translator), "one object at a time")?;
    for object in &case.objects {
        translator.apply([Change::Remove(object.id.clone())]);
        let without: Vec<Arc<Object>> = case.objects.iter().filter(|other| other.id != object.id).cloned().collect();
        let mut fresh = Translator::new(Options::default());
        fresh.apply(without.into_iter().map(Change::Put));
        same(&Made::of(&fresh), &Made::of(&translator), &format!("without {}", object.id))?;
        translator.apply([Change::Put(object.clone())]);
        same(made, &Made::of(&translator), &format!("{} removed and put back", object.id))?;
    }
    Ok(())
}

fn same(expected: &Made, found: &Made, when: &str) -> Result<(), Failed> {
    if expected == found {
        return Ok(());
    }
    let finding = expected.diagnostics.iter().zip(&found.diagnostics).find(|(one, other)| one != other);
    let names = |made: &Made| made.all().map(|r| (r.kind, r.name.to_string())).collect::<BTreeSet<_>>();
    let changed = expected.all().filter(|resource| !found.all().any(|other| other == *resource));
    let changed: Vec<String> = changed.map(|resource| format!("{:?} {}", resource.kind, resource.name)).collect();
    Err(format!(
        "{when}: not the same\nresources that differ: {changed:?}\nnames only in one: {:?}\nstatuses same: {}, findings same: {} {finding:#?}, graph same: {}",
        names(expected).symmetric_difference(&names(found)).collect::<Vec<_>>(),
        expected.statuses == found.statuses,
        expected.diagnostics == found.diagnostics,
        expected.graph == found.graph,
    )
    .into())
}

fn text_parses_back(made: &Made) -> Result<(), Failed> {
    for resource in made.all() {
        let back = from_yaml(resource.kind, &to_yaml(resource)?)?;
        if back != [resource.clone()] {
            return Err(format!("{:?} {} is not the same when read back", resource.kind, resource.name).into());
        }
    }
    Ok(())
}

fn field_rules_hold(made: &Made) -> Result<(), Failed> {
    for resource in made.all() {
        if let Some(error) = validate(resource).first() {
            return Err(format!("{:?} {}: {error:?}", resource.kind, resource.name).into());
        }
    }
    Ok(())
}

/// Names that a resource refers to, by the fields that hold them.
fn references(resource: &Resource) -> Result<Vec<(ResourceType, String)>, Failed> {
    let mut found = Vec::new();
    walk(&to_value(resource.kind, &resource.body)?, &mut |key, value, parent| {
        let Some(text) = value.as_str() else { return };
        let kind = match key {
            "route_configuration_name" | "route_config_name" => ResourceType::RouteConfiguration,
            "service_name" if parent.contains_key("eds_config") => ResourceType::Endpoints,
            "cluster" | "cluster_name" if resource.kind != ResourceType::Endpoints => ResourceType::Cluster,
            "name" if parent.contains_key("sds_config") => ResourceType::Secret,
            "name" if parent.contains_key("weight") => ResourceType::Cluster,
            _ => return,
        };
        found.push((kind, text.to_owned()));
    });
    if resource.kind == ResourceType::Cluster {
        found.retain(|(kind, _)| *kind != ResourceType::Cluster);
    }
    Ok(found)
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                visit(key, field, fields);
                walk(field, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

fn no_name_dangles(made: &Made) -> Result<(), Failed> {
    for resources in made.resources.values() {
        let there: BTreeSet<(ResourceType, &str)> = resources.iter().map(|r| (r.kind, &*r.name)).collect();
        let mut needed: BTreeSet<(ResourceType, String)> = BTreeSet::new();
        for resource in resources {
            // The server finds names by its own table: it must find these too, and hold nothing back.
            let found = xds_api::references(resource);
            for (kind, name) in &found {
                if **name != *UNRESOLVED_CLUSTER && !there.contains(&(*kind, &**name)) {
                    return Err(format!(
                        "{:?} {} would be held back for {kind:?} {name}",
                        resource.kind, resource.name
                    )
                    .into());
                }
            }
            for (kind, name) in references(resource)? {
                if !found.iter().any(|(of, there)| *of == kind && **there == *name) {
                    return Err(format!(
                        "{:?} {}: {kind:?} {name} is not found by the table",
                        resource.kind, resource.name
                    )
                    .into());
                }
                if name != UNRESOLVED_CLUSTER && !there.contains(&(kind, name.as_str())) {
                    return Err(format!(
                        "{:?} {} refers to {kind:?} {name}, which is not there",
                        resource.kind, resource.name
                    )
                    .into());
                }
                needed.insert((kind, name));
            }
        }
        let orphans: Vec<_> = there
            .iter()
            .filter(|(kind, _)| {
                matches!(kind, ResourceType::Endpoints | ResourceType::Secret | ResourceType::RouteConfiguration)
            })
            .filter(|(kind, name)| !needed.contains(&(*kind, (*name).to_owned())))
            .collect();
        if !orphans.is_empty() {
            return Err(format!("nothing refers to {orphans:?}").into());
        }
    }
    Ok(())
}

fn every_finding_has_a_place(case: &Case, made: &Made) -> Result<(), Failed> {
    for finding in case.findings(made) {
        let position = finding.place.origin.locate(&finding.place.path);
        let lines = finding.place.origin.file_text().lines().count();
        if !position.is_some_and(|position| position.line >= 1 && position.line <= lines) {
            return Err(format!("{}: {} has no place in the input", finding.code, finding.message).into());
        }
    }
    Ok(())
}
