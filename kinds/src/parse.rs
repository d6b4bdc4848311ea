//! A document's text to typed objects, each admitted or refused as an API server would.

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use crate::{
    Diagnostic, FieldPath, Kind, Meta, Object, ObjectId, Origin, Place, Reading, Severity, Spec, Unreadable, schema,
    unread,
};

/// What a document, or one item of a `List`, turned out to be.
#[derive(Debug)]
pub enum Parsed {
    /// Admitted, perhaps with remarks.
    Object(Box<Object>, Vec<Diagnostic>),
    /// Not an object of ours, or one that is refused. The identity is known when the document said it.
    Refused(Option<ObjectId>, Vec<Diagnostic>),
    /// Harmless and not ours: the remark says what it is.
    Skipped(Diagnostic),
}

/// The namespace of objects that do not say theirs.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Reads one document of a file.
#[must_use]
pub fn parse_document(origin: &Origin) -> Vec<Parsed> {
    match serde_saphyr::from_str::<Value>(origin.text()) {
        Ok(Value::Null) => Vec::new(),
        Ok(value) => parse_value(value, origin),
        Err(error) => {
            let at = error.location().map_or(origin.start(), |location| crate::Position {
                line: origin.start().line + usize::try_from(location.line()).unwrap_or(1).saturating_sub(1),
                column: usize::try_from(location.column()).unwrap_or(1),
            });
            let place = Place { origin: origin.at_position(at), path: FieldPath::root() };
            let diagnostic = Diagnostic::error("invalid-yaml", place, format!("not valid YAML: {}", plain(&error)))
                .help("the other documents of the file are read all the same");
            vec![Parsed::Refused(guess_identity(origin.text()), vec![diagnostic])]
        }
    }
}

/// Reads one decoded object, or the items of a `List`.
#[must_use]
pub fn parse_value(mut value: Value, origin: &Origin) -> Vec<Parsed> {
    let is_list = text(&value, "kind").is_some_and(|kind| kind.ends_with("List")) && value.get("items").is_some();
    if is_list {
        let items = value.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        return items
            .into_iter()
            .enumerate()
            .flat_map(|(index, item)| parse_value(item, &origin.at(FieldPath::from("items").index(index))))
            .collect();
    }
    let parsed = parse_object(value, origin, judge);
    vec![parsed.unwrap_or_else(|unreadable| Parsed::Refused(Some(unreadable.id), vec![unreadable.finding]))]
}

/// Reads an object that an API server holds. Its verdict stands, by whatever schemas it has: only what is unknown here is
/// remarked, and defaults that it does not know are filled in.
///
/// # Errors
/// When the server took what cannot be read here.
pub fn parse_admitted(value: Value, origin: &Origin) -> Result<Parsed, Box<Unreadable>> {
    parse_object(value, origin, complete)
}

/// Looks at an object and fills in what it lacks; says what is remarkable, and what there is against it.
type Judge = fn(&ObjectId, &str, &str, &mut Value, &Origin) -> (Vec<Diagnostic>, Vec<Diagnostic>);

fn parse_object(mut value: Value, origin: &Origin, judge: Judge) -> Result<Parsed, Box<Unreadable>> {
    let (Some(api_version), Some(kind_name)) = (text(&value, "apiVersion"), text(&value, "kind")) else {
        return Ok(Parsed::Skipped(
            Diagnostic::info(
                "not-an-object",
                place(origin, ""),
                "skipped: no apiVersion and kind, so not a Kubernetes object",
            )
            .help("nothing to do if this is a values file or a fragment; else add apiVersion and kind"),
        ));
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let (group, version) = (group.to_owned(), SmolStr::new(version));
    let Some(kind) = Kind::lookup(&group, kind_name) else {
        let name = text_at(&value, "/metadata/name").unwrap_or("without a name");
        let message = format!("skipped: {kind_name} `{name}` ({api_version}) is not a kind that is translated");
        return Ok(Parsed::Skipped(Diagnostic::info("kind-not-translated", place(origin, "kind"), message)));
    };
    for field in ["name", "namespace"] {
        let written = value.pointer(&format!("/metadata/{field}"));
        if written.is_some_and(|written| !written.is_string() && !written.is_null()) {
            let message = format!("metadata.{field} is not a string");
            let found = Diagnostic::error("invalid-field", place(origin, &format!("metadata.{field}")), message)
                .help("put it in quotes: YAML reads words like no, on and numbers as something else");
            return Ok(Parsed::Refused(None, vec![found]));
        }
    }
    let namespace = text_at(&value, "/metadata/namespace").unwrap_or(DEFAULT_NAMESPACE);
    let name = text_at(&value, "/metadata/name").unwrap_or_default();
    let id = ObjectId::new(kind, namespace, name);
    if name.is_empty() {
        let diagnostic =
            Diagnostic::error("missing-name", place(origin, "metadata"), format!("{kind} has no metadata.name"))
                .help("give the object a name");
        return Ok(Parsed::Refused(None, vec![diagnostic]));
    }
    if !kind.info().versions.contains(&version.as_str()) {
        let message = format!("{kind} is not served in version {version}");
        let diagnostic = Diagnostic::error("unknown-version", place(origin, "apiVersion"), message)
            .about(&id)
            .help(format!("use one of {}", kind.info().versions.join(", ")));
        return Ok(Parsed::Refused(Some(id), vec![diagnostic]));
    }
    let (mut remarks, findings) = judge(&id, &group, &version, &mut value, origin);
    if !findings.is_empty() {
        return Ok(Parsed::Refused(Some(id), findings));
    }
    remarks.extend(unread::remarks(&id, &value, origin));
    let meta = read_meta(&value);
    match Spec::read(kind, &mut value) {
        Ok(spec) => {
            let object = Object { id, version, meta, spec, reading: Reading::Newest, origin: origin.clone() };
            Ok(Parsed::Object(Box::new(object), remarks))
        }
        Err(failure) => {
            let finding =
                Diagnostic::error("invalid-field", place(origin, &failure.path), failure.message.clone()).about(&id);
            Err(Unreadable::new((id, version, meta, origin), failure, finding).into())
        }
    }
}

/// The schema's verdict: remarks on an object that is admitted, and what there is against one that is not.
fn judge(
    id: &ObjectId,
    group: &str,
    version: &str,
    value: &mut Value,
    origin: &Origin,
) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let mut remarks: Vec<Diagnostic> = Vec::new();
    let mut findings = Vec::new();
    for violation in schema::admit(id.kind, group, version, value) {
        let place = Place { origin: origin.clone(), path: violation.path };
        let (severity, code) =
            if violation.tolerated { (Severity::Info, "older-form") } else { (Severity::Error, violation.code) };
        let mut found = Diagnostic::new(severity, code, place, violation.message).about(id);
        found.help = violation.help;
        if violation.tolerated {
            // One remark for each form, not for each field of it.
            if !remarks.iter().any(|remark| remark.message == found.message) {
                remarks.push(found);
            }
        } else {
            findings.push(found);
        }
    }
    (remarks, findings)
}

fn complete(
    id: &ObjectId,
    group: &str,
    version: &str,
    value: &mut Value,
    origin: &Origin,
) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let mut unknown = schema::complete(id.kind, group, version, value);
    unknown.retain(|violation| !violation.tolerated);
    let remark = unknown.first().map(|first| {
        let fields: Vec<&str> = unknown.iter().map(|violation| violation.path.as_str()).collect();
        let place = Place { origin: origin.clone(), path: first.path.clone() };
        let message = format!("not known to this release and left aside: {}", fields.join(", "));
        Diagnostic::warning("unknown-field", place, message).about(id)
    });
    (remark.into_iter().collect(), Vec::new())
}

fn read_meta(value: &Value) -> Meta {
    let map = |pointer: &str| {
        let entries = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((SmolStr::new(key), SmolStr::new(value.as_str()?)))).collect()
    };
    Meta {
        labels: map("/metadata/labels"),
        annotations: map("/metadata/annotations"),
        created: text_at(value, "/metadata/creationTimestamp").map(SmolStr::new),
        generation: value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
        uid: text_at(value, "/metadata/uid").map(SmolStr::new),
        deleted: text_at(value, "/metadata/deletionTimestamp").is_some(),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn place(origin: &Origin, path: &str) -> Place {
    Place { origin: origin.clone(), path: FieldPath::from(path) }
}

/// The parser's message without its own rendering of the snippet: positions and snippets are ours to print.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    first.split(" at line ").next().unwrap_or(first).to_owned()
}

/// Which object a document that does not parse was meant to be, by its unindented lines: its last good version stays
/// in force.
fn guess_identity(text: &str) -> Option<ObjectId> {
    let mut api_version = None;
    let mut kind = None;
    let mut name = None;
    let mut namespace = None;
    let mut in_metadata = false;
    for line in text.lines() {
        let entry = line.trim().split_once(':').map(|(key, value)| (key, value.trim().trim_matches(['"', '\''])));
        let Some((key, value)) = entry else { continue };
        if line.starts_with([' ', '\t']) {
            match key {
                "name" if in_metadata && name.is_none() => name = Some(value),
                "namespace" if in_metadata && namespace.is_none() => namespace = Some(value),
                _ => {}
            }
        } else {
            in_metadata = key == "metadata";
            match key {
                "apiVersion" => api_version = Some(value),
                "kind" => kind = Some(value),
                "metadata" => {
                    name = inline(value, "name");
                    namespace = inline(value, "namespace");
                }
                _ => {}
            }
        }
    }
    let group = api_version?.rsplit_once('/').map_or("", |(group, _)| group);
    let kind = Kind::lookup(group, kind?)?;
    Some(ObjectId::new(kind, namespace.unwrap_or(DEFAULT_NAMESPACE), name?))
}

/// An entry of a mapping that is written on one line.
fn inline<'a>(mapping: &'a str, key: &str) -> Option<&'a str> {
    let entries = mapping.strip_prefix('{')?.trim_end_matches('}').split(',');
    let mut pairs = entries.filter_map(|entry| entry.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().trim_matches(['"', '\'']))
}

/// Every object of a text, for tests and for standard input.
#[must_use]
pub fn parse_text(file: &str, text: &str) -> Vec<Parsed> {
    let documents = crate::document::split(&Arc::from(file), &Arc::from(text));
    documents.iter().flat_map(parse_document).collect()
}
