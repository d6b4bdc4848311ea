//! JSONPath, as far as patches use it: names, indexes, wildcards, descent, and filters that compare a field with a text.

use serde_json::Value;

#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
    All,
    /// Everything below.
    Descend,
    /// Items whose field, given by its names, equals a text.
    Where(Vec<String>, String),
}

/// The JSON pointers of what a path finds.
pub(super) fn pointers(root: &Value, path: &str) -> Result<Vec<String>, String> {
    let mut found = vec![(String::new(), root)];
    for step in parse(path)? {
        let mut next = Vec::new();
        for (pointer, value) in found {
            take(&step, &pointer, value, &mut next);
        }
        found = next;
    }
    Ok(found.into_iter().map(|(pointer, _)| pointer).collect())
}

fn children(value: &Value) -> Vec<(String, &Value)> {
    let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (escaped(key), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    }
}

fn take<'v>(step: &Step, pointer: &str, value: &'v Value, found: &mut Vec<(String, &'v Value)>) {
    let mut keep = |key: &str, value: &'v Value| found.push((format!("{pointer}/{key}"), value));
    match step {
        Step::Name(name) => {
            if let Some(value) = value.get(name) {
                keep(&name.replace('~', "~0").replace('/', "~1"), value);
            }
        }
        Step::Index(index) => {
            if let Some(value) = value.get(index) {
                keep(&index.to_string(), value);
            }
        }
        Step::All => children(value).into_iter().for_each(|(key, value)| keep(&key, value)),
        Step::Descend => {
            found.push((pointer.to_owned(), value));
            for (key, child) in children(value) {
                take(step, &format!("{pointer}/{key}"), child, found);
            }
        }
        Step::Where(names, text) => {
            for (key, child) in children(value) {
                let field = names.iter().try_fold(child, |value, name| value.get(name));
                if field.and_then(Value::as_str) == Some(text) {
                    keep(&key, child);
                }
            }
        }
    }
}

fn parse(path: &str) -> Result<Vec<Step>, String> {
    let wrong = |rest: &str| format!("{path}: cannot be read from `{rest}` on");
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = bracket_end(inner).ok_or_else(|| wrong(rest))?;
            steps.push(bracket(&inner[..end]).ok_or_else(|| wrong(rest))?);
            rest = &inner[end + 1..];
            continue;
        }
        if let Some(below) = rest.strip_prefix("..") {
            steps.push(Step::Descend);
            rest = below;
            if rest.starts_with('[') {
                continue;
            }
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        match &rest[..end] {
            "" => return Err(wrong(rest)),
            "*" => steps.push(Step::All),
            name => steps.push(Step::Name(name.to_owned())),
        }
        rest = &rest[end..];
    }
    Ok(steps)
}

/// The closing bracket, past brackets within quotes and within filters.
fn bracket_end(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0_usize);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), closing) if open == closing => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Step::Name(name.to_owned()));
    }
    if let Some(condition) = text.strip_prefix('?') {
        let condition = condition.trim();
        let condition = condition.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(condition);
        let (field, value) = condition.split_once("==")?;
        let field = field.trim().strip_prefix('@')?;
        let names = parse(field).ok()?.into_iter().map(|step| match step {
            Step::Name(name) => Some(name),
            _ => None,
        });
        return Some(Step::Where(names.collect::<Option<_>>()?, unquoted(value)?.to_owned()));
    }
    text.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_places() {
        let root =
            json!({"filter_chains": [{"name": "a", "filters": [{"name": "x"}]}, {"name": "b/c"}], "y": {"name": "a"}});
        let cases: [(&str, &[&str]); 8] = [
            ("$", &[""]),
            ("$.filter_chains[0].name", &["/filter_chains/0/name"]),
            ("$['filter_chains'][1]", &["/filter_chains/1"]),
            ("$.filter_chains[*].name", &["/filter_chains/0/name", "/filter_chains/1/name"]),
            ("filter_chains[?(@.name=='b/c')]", &["/filter_chains/1"]),
            ("$.filter_chains[?@.name==\"a\"].filters[0]", &["/filter_chains/0/filters/0"]),
            ("..filters[?(@.name=='x')]", &["/filter_chains/0/filters/0"]),
            ("$.nothing", &[]),
        ];
        for (path, expected) in cases {
            assert_eq!(pointers(&root, path).unwrap(), expected, "{path}");
        }
        for bad in ["$[", "$.a..", "$[?(@.a)]", "$[x]"] {
            assert!(pointers(&root, bad).is_err(), "{bad}");
        }
    }
}
