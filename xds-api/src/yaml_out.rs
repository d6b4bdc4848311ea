//! Documents as YAML text: the form of the golden files.
//!
//! The same document is the same text, one edit is one changed line, and every reader of YAML 1.1 or 1.2 reads back
//! what was written: a text that one of them would take for something else is quoted. A list stands at the column
//! of its key; a text of several lines is a block.

use crate::doc::Doc;

pub(crate) fn text(doc: &Doc) -> String {
    let mut out = String::new();
    match doc {
        Doc::Map(entries) if !entries.is_empty() => map(&mut out, entries, 0, false),
        Doc::List(items) if !items.is_empty() => list(&mut out, items, 0),
        scalar => {
            inline(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

/// `started`: the first key goes on the line that is already begun, behind a dash.
fn map(out: &mut String, entries: &[(String, Doc)], indent: usize, started: bool) {
    for (position, (key, content)) in entries.iter().enumerate() {
        if position > 0 || !started {
            pad(out, indent);
        }
        out.push_str(&scalar(key));
        out.push(':');
        match content {
            Doc::Map(inner) if !inner.is_empty() => {
                out.push('\n');
                map(out, inner, indent + 2, false);
            }
            Doc::List(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, indent);
            }
            content => {
                out.push(' ');
                inline(out, content, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Doc], indent: usize) {
    for item in items {
        pad(out, indent);
        match item {
            Doc::Map(entries) if !entries.is_empty() => {
                out.push_str("- ");
                map(out, entries, indent + 2, true);
            }
            Doc::List(inner) if !inner.is_empty() => {
                out.push_str("-\n");
                list(out, inner, indent + 2);
            }
            item => {
                out.push_str("- ");
                inline(out, item, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// A value without its final line break; `indent` is where the lines of a block begin.
fn inline(out: &mut String, doc: &Doc, indent: usize) {
    match doc {
        Doc::Null => out.push_str("null"),
        Doc::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Doc::Number(number) => out.push_str(&number.to_string()),
        Doc::List(_) => out.push_str("[]"),
        Doc::Map(_) => out.push_str("{}"),
        Doc::Text(text) if fits_block(text) => block(out, text, indent),
        Doc::Text(text) => out.push_str(&scalar(text)),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A block says its indentation by its first line, which therefore must be neither blank nor indented.
fn fits_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || printable(c))
}

fn block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    out.push_str(match breaks {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
    out.extend(std::iter::repeat_n('\n', breaks.saturating_sub(1)));
}

fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if text.chars().all(printable) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        double_quoted(text)
    }
}

/// Line and paragraph separators are line breaks to YAML 1.1, a byte order mark means something to every reader.
fn printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn double_quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if printable(c) => out.push(c),
            c => {
                // Writing to a string cannot fail.
                let _ = match u32::from(c) {
                    code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                    code @ 0..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    let starts_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '.' | '(' | '^' | '$' | '+' | '<' | '~');
    text.chars().next().is_some_and(starts_plain)
        && text.chars().all(printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !is_keyword(text)
        && !looks_numeric(text)
        && !looks_like_date(text)
}

/// What YAML 1.1 or 1.2 reads as a boolean, nothing, a merge or the default value.
fn is_keyword(text: &str) -> bool {
    const KEYWORDS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "<<"];
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(text))
}

/// Integers and floats of any base and notation, and numbers to the base sixty (`1:30`).
fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits: String = unsigned.chars().filter(|c| *c != '_').collect();
    let lower = digits.to_ascii_lowercase();
    let based = |prefix: &str, is_digit: fn(char) -> bool| {
        lower.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_digit))
    };
    let sexagesimal = || lower.contains(':') && lower.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    matches!(lower.as_str(), ".inf" | ".nan")
        || lower.parse::<f64>().is_ok()
        || based("0x", |c| c.is_ascii_hexdigit())
        || based("0o", |c| c.is_digit(8))
        || based("0b", |c| c.is_digit(2))
        || sexagesimal()
}

fn looks_like_date(text: &str) -> bool {
    let shape: String = text.chars().take(10).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ["0000-00-00", "0000-0-0", "0000-0-00", "0000-00-0"].iter().any(|date| shape.starts_with(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        scalar(text)
    }

    #[test]
    fn what_a_reader_would_misread_is_quoted() {
        for quoted in [
            "",
            "yes",
            "No",
            "ON",
            "y",
            "~",
            "null",
            "1",
            "-1",
            "+1",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            "1e3",
            "1.5",
            ".5",
            "5.",
            ".inf",
            "-.INF",
            ".NaN",
            "1:30",
            "01:02:03",
            "2026-01-02",
            "2026-1-2T03:04:05Z",
            "- a",
            "-",
            "*",
            "*.example.com",
            "a: b",
            "a:",
            "a #b",
            " a",
            "a ",
            "@type",
            "%REQ(:method)%",
            "!x",
            "&x",
            "[a",
            "{a",
            "? a",
            "|",
            ">",
            "'a",
            "`a",
            ":8080",
            "<<",
            "infinity",
            "nan",
            "#a",
            ",a",
            "]",
        ] {
            let text = words(quoted);
            assert!(text.starts_with('\''), "{text}");
            assert_eq!(serde_saphyr::from_str::<String>(&text).unwrap(), quoted);
        }
        for plain in [
            "a",
            "10s",
            "5.250s",
            "127.0.0.1",
            "10.0.0.0/8",
            "a:b",
            "a#b",
            "/v1/chat",
            "envoy.filters.http.router",
            "type.googleapis.com/a.B",
            "x-ai-eg-model",
            "it's",
            "^/(a|b)$",
            "ROUND_ROBIN",
            "日本",
            "1.2.3",
            "1m",
            "a, b",
        ] {
            assert_eq!(words(plain), plain);
            assert_eq!(serde_saphyr::from_str::<String>(plain).unwrap(), plain);
        }
        for (text, written) in
            [("a\tb", "\"a\\tb\""), ("\u{1}", "\"\\x01\""), ("\u{feff}", "\"\\ufeff\""), ("\n", "\"\\n\"")]
        {
            assert_eq!(words(text), written);
        }
    }

    #[test]
    fn layout() {
        let value = serde_json::json!({
            "a": {"list": [{"x": 1, "z": [true, [1, 2]]}, "s"], "none": [], "nothing": {}, "null": null},
            "block": "one\n\n  two\nthree\n", "clip": "a\nb", "keep": "a\n\n",
        });
        let written = text(&doc(&value));
        let expected = "a:\n  list:\n  - x: 1\n    z:\n    - true\n    -\n      - 1\n      - 2\n  - s\n  none: []\n  nothing: {}\n  'null': null\nblock: |\n  one\n\n    two\n  three\nclip: |-\n  a\n  b\nkeep: |+\n  a\n\n";
        assert_eq!(written, expected);
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&written).unwrap(), value);
    }

    fn doc(value: &serde_json::Value) -> Doc {
        match value {
            serde_json::Value::Null => Doc::Null,
            serde_json::Value::Bool(value) => Doc::Bool(*value),
            serde_json::Value::Number(number) => Doc::Number(number.clone()),
            serde_json::Value::String(text) => Doc::Text(text.clone()),
            serde_json::Value::Array(items) => Doc::List(items.iter().map(doc).collect()),
            serde_json::Value::Object(map) => Doc::Map(map.iter().map(|(k, v)| (k.clone(), doc(v))).collect()),
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_back(value in proptest::collection::vec("[ -~\n\t\u{0}-\u{20}\u{80}-\u{a1}\u{2027}-\u{202a}0-9:#'\"yYnN_.-]{0,12}", 1..4)) {
            let list = Doc::Map(vec![("k".to_owned(), Doc::List(value.iter().cloned().map(Doc::Text).collect()))]);
            let written = text(&list);
            let read: std::collections::BTreeMap<String, Vec<String>> = serde_saphyr::from_str(&written).unwrap();
            proptest::prop_assert_eq!(&read["k"], &value, "{}", written);
        }
    }
}
