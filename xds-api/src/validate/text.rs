//! Rules about strings and bytes: lengths, parts, patterns and the well-known formats.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::Regex;
use regex::bytes::Regex as BytesRegex;

use crate::generated::validate as rules;
use crate::generated::validate::KnownRegex;
use crate::generated::validate::bytes_rules::WellKnown as BytesFormat;
use crate::generated::validate::string_rules::WellKnown;

/// Lengths from and to.
struct Length {
    min: u64,
    max: u64,
}

impl Length {
    fn new(exact: Option<u64>, min: Option<u64>, max: Option<u64>) -> Option<Self> {
        let length = Self { min: exact.or(min).unwrap_or(0), max: exact.or(max).unwrap_or(u64::MAX) };
        (length.min > 0 || length.max < u64::MAX).then_some(length)
    }

    fn refusal(&self, length: usize, unit: &str) -> Option<String> {
        let (length, Self { min, max }) = (length as u64, self);
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        if length >= *min && length <= *max {
            return None;
        }
        Some(match (length == 0, length < *min) {
            (true, _) => "must not be empty".to_owned(),
            (_, true) => format!("must have at least {min} {unit}{}, has {length}", plural(*min)),
            (_, false) => format!("must have at most {max} {unit}{}, has {length}", plural(*max)),
        })
    }
}

pub(super) struct TextRules {
    chars: Option<Length>,
    bytes: Option<Length>,
    pattern: Option<Regex>,
    format: Option<Format>,
    rules: rules::StringRules,
}

#[derive(Clone, Copy)]
enum Format {
    Email,
    Hostname,
    Ip,
    Ipv4,
    Ipv6,
    Uri,
    UriReference,
    Address,
    Uuid,
    HeaderName,
    HeaderValue,
    /// The loose form of both: what cannot split a header.
    HeaderText,
}

impl TextRules {
    pub(super) fn new(rules: &rules::StringRules) -> Self {
        let format = rules.well_known.and_then(|format| match format {
            WellKnown::Email(on) => on.then_some(Format::Email),
            WellKnown::Hostname(on) => on.then_some(Format::Hostname),
            WellKnown::Ip(on) => on.then_some(Format::Ip),
            WellKnown::Ipv4(on) => on.then_some(Format::Ipv4),
            WellKnown::Ipv6(on) => on.then_some(Format::Ipv6),
            WellKnown::Uri(on) => on.then_some(Format::Uri),
            WellKnown::UriRef(on) => on.then_some(Format::UriReference),
            WellKnown::Address(on) => on.then_some(Format::Address),
            WellKnown::Uuid(on) => on.then_some(Format::Uuid),
            WellKnown::WellKnownRegex(number) => match (KnownRegex::try_from(number), rules.strict()) {
                (Ok(KnownRegex::HttpHeaderName), true) => Some(Format::HeaderName),
                (Ok(KnownRegex::HttpHeaderValue), true) => Some(Format::HeaderValue),
                (Ok(KnownRegex::HttpHeaderName | KnownRegex::HttpHeaderValue), false) => Some(Format::HeaderText),
                _ => None,
            },
        });
        Self {
            chars: Length::new(rules.len, rules.min_len, rules.max_len),
            bytes: Length::new(rules.len_bytes, rules.min_bytes, rules.max_bytes),
            pattern: rules.pattern.as_ref().and_then(|pattern| Regex::new(pattern).ok()),
            format,
            rules: rules.clone(),
        }
    }

    pub(super) fn refusal(&self, text: &str) -> Option<String> {
        let rules = &self.rules;
        if rules.ignore_empty() && text.is_empty() {
            return None;
        }
        if let Some(wanted) = rules.r#const.as_deref().filter(|wanted| *wanted != text) {
            return Some(format!("must be {wanted:?}"));
        }
        let length = self.chars.as_ref().and_then(|length| length.refusal(text.chars().count(), "character"));
        if let Some(reason) = length.or_else(|| self.bytes.as_ref().and_then(|l| l.refusal(text.len(), "byte"))) {
            return Some(reason);
        }
        if !rules.r#in.is_empty() && !rules.r#in.iter().any(|allowed| allowed == text) {
            return Some(format!("must be one of {}", rules.r#in.join(", ")));
        }
        if rules.not_in.iter().any(|refused| refused == text) {
            return Some(format!("must not be one of {}", rules.not_in.join(", ")));
        }
        let parts = [
            (&rules.prefix, starts as fn(&str, &str) -> bool, true, "must start with"),
            (&rules.suffix, ends, true, "must end with"),
            (&rules.contains, contains, true, "must contain"),
            (&rules.not_contains, contains, false, "must not contain"),
        ];
        for (part, holds, wanted, words) in parts {
            if let Some(part) = part.as_deref().filter(|part| holds(text, part) != wanted) {
                return Some(format!("{words} {part:?}"));
            }
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            return Some(format!("must match {}", pattern.as_str()));
        }
        self.format.and_then(|format| format.refusal(text)).map(str::to_owned)
    }
}

fn starts(text: &str, part: &str) -> bool {
    text.starts_with(part)
}

fn ends(text: &str, part: &str) -> bool {
    text.ends_with(part)
}

fn contains(text: &str, part: &str) -> bool {
    text.contains(part)
}

impl Format {
    fn refusal(self, text: &str) -> Option<&'static str> {
        let (holds, words) = match self {
            Self::Email => (is_email(text), "must be an email address"),
            Self::Hostname => (is_hostname(text), "must be a host name"),
            Self::Ip => (text.parse::<IpAddr>().is_ok(), "must be an IP address"),
            Self::Ipv4 => (text.parse::<Ipv4Addr>().is_ok(), "must be an IPv4 address"),
            Self::Ipv6 => (text.parse::<Ipv6Addr>().is_ok(), "must be an IPv6 address"),
            Self::Uri => (is_uri(text), "must be an absolute URI"),
            Self::UriReference => (text.chars().all(is_uri_char), "must be a URI reference"),
            Self::Address => {
                (text.parse::<IpAddr>().is_ok() || is_hostname(text), "must be an IP address or a host name")
            }
            Self::Uuid => (is_uuid(text), "must be a UUID"),
            Self::HeaderName => (is_header_name(text), "must be a header name"),
            Self::HeaderValue => (
                text.chars().all(|c| c == '\t' || (c >= ' ' && c != '\u{7f}')),
                "must be a header value: no control characters",
            ),
            Self::HeaderText => (!text.contains(['\0', '\n', '\r']), "must not contain NUL or line breaks"),
        };
        (!holds).then_some(words)
    }
}

fn is_header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+,-.^_|~`".contains(c))
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, host)| {
        (1..=64).contains(&local.len()) && !local.contains(char::is_whitespace) && is_hostname(host)
    })
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && rest.chars().all(is_uri_char)
    })
}

fn is_uri_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, len)| part.len() == len && part.chars().all(|c| c.is_ascii_hexdigit()))
}

pub(super) struct BytesRules {
    length: Option<Length>,
    pattern: Option<BytesRegex>,
    rules: rules::BytesRules,
}

impl BytesRules {
    pub(super) fn new(rules: &rules::BytesRules) -> Self {
        Self {
            length: Length::new(rules.len, rules.min_len, rules.max_len),
            pattern: rules.pattern.as_ref().and_then(|pattern| BytesRegex::new(pattern).ok()),
            rules: rules.clone(),
        }
    }

    pub(super) fn refusal(&self, bytes: &[u8]) -> Option<String> {
        let rules = &self.rules;
        if rules.ignore_empty() && bytes.is_empty() {
            return None;
        }
        if let Some(reason) = self.length.as_ref().and_then(|length| length.refusal(bytes.len(), "byte")) {
            return Some(reason);
        }
        let holds =
            |part: &Option<Vec<u8>>, test: fn(&[u8], &[u8]) -> bool| part.as_ref().is_none_or(|p| test(bytes, p));
        let listed = |list: &[Vec<u8>]| list.iter().any(|item| item == bytes);
        let within = |bytes: &[u8], part: &[u8]| part.is_empty() || bytes.windows(part.len()).any(|w| w == part);
        let format = match rules.well_known {
            Some(BytesFormat::Ip(true)) => matches!(bytes.len(), 4 | 16),
            Some(BytesFormat::Ipv4(true)) => bytes.len() == 4,
            Some(BytesFormat::Ipv6(true)) => bytes.len() == 16,
            _ => true,
        };
        let tests = [
            (rules.r#const.as_deref().is_none_or(|wanted| wanted == bytes), "must be the one value allowed"),
            (holds(&rules.prefix, <[u8]>::starts_with), "must start with the prefix demanded"),
            (holds(&rules.suffix, <[u8]>::ends_with), "must end with the suffix demanded"),
            (holds(&rules.contains, within), "must contain the part demanded"),
            (rules.r#in.is_empty() || listed(&rules.r#in), "must be one of the values allowed"),
            (!listed(&rules.not_in), "must not be one of the values refused"),
            (self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(bytes)), "must match the pattern demanded"),
            (format, "must be an IP address in network order"),
        ];
        tests.into_iter().find(|(holds, _)| !holds).map(|(_, words)| words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rules: rules::StringRules, value: &str) -> Option<String> {
        TextRules::new(&rules).refusal(value)
    }

    #[test]
    fn lengths_and_parts() {
        let base = rules::StringRules::default;
        let cases = [
            (rules::StringRules { min_len: Some(2), ..base() }, "éé", "é", "must have at least 2 characters, has 1"),
            (rules::StringRules { max_len: Some(2), ..base() }, "éé", "abc", "must have at most 2 characters, has 3"),
            (rules::StringRules { len: Some(2), ..base() }, "ab", "a", "must have at least 2 characters, has 1"),
            (rules::StringRules { min_bytes: Some(2), ..base() }, "é", "e", "must have at least 2 bytes, has 1"),
            (rules::StringRules { max_bytes: Some(3), ..base() }, "éa", "éé", "must have at most 3 bytes, has 4"),
            (rules::StringRules { len_bytes: Some(2), ..base() }, "é", "", "must not be empty"),
            (rules::StringRules { r#const: Some("a".into()), ..base() }, "a", "b", "must be \"a\""),
            (rules::StringRules { prefix: Some("a".into()), ..base() }, "ab", "b", "must start with \"a\""),
            (rules::StringRules { suffix: Some("b".into()), ..base() }, "ab", "a", "must end with \"b\""),
            (rules::StringRules { contains: Some("b".into()), ..base() }, "abc", "a", "must contain \"b\""),
            (rules::StringRules { not_contains: Some("b".into()), ..base() }, "a", "abc", "must not contain \"b\""),
            (rules::StringRules { pattern: Some("^a+$".into()), ..base() }, "aa", "ab", "must match ^a+$"),
            (rules::StringRules { r#in: vec!["a".into(), "b".into()], ..base() }, "a", "c", "must be one of a, b"),
            (rules::StringRules { not_in: vec!["a".into()], ..base() }, "b", "a", "must not be one of a"),
            (
                rules::StringRules { min_len: Some(2), ignore_empty: Some(true), ..base() },
                "",
                "a",
                "must have at least 2 characters, has 1",
            ),
        ];
        for (rules, good, bad, reason) in cases {
            assert_eq!(text(rules.clone(), good), None, "{good}");
            assert_eq!(text(rules, bad).as_deref(), Some(reason));
        }
    }

    #[test]
    fn formats() {
        let header = |strict| (KnownRegex::HttpHeaderValue as i32, strict);
        let name = |strict| (KnownRegex::HttpHeaderName as i32, strict);
        for ((format, strict), good, bad) in [
            (name(true), ":path", "a b"),
            (name(true), "x-a_b", ""),
            (name(false), "a b", "a\nb"),
            (header(true), "a\tb é", "a\u{7f}"),
            (header(false), "a\u{7f}", "a\0"),
        ] {
            let rules = rules::StringRules {
                strict: Some(strict),
                well_known: Some(WellKnown::WellKnownRegex(format)),
                ..Default::default()
            };
            assert_eq!(text(rules.clone(), good), None, "{good:?}");
            assert!(text(rules, bad).is_some(), "{bad:?}");
        }
        for (format, good, bad) in [
            (WellKnown::Email(true), "a@b.example", "a@"),
            (WellKnown::Hostname(true), "a-b.example.", "-a"),
            (WellKnown::Ip(true), "::1", "1.2.3"),
            (WellKnown::Ipv4(true), "1.2.3.4", "::1"),
            (WellKnown::Ipv6(true), "::1", "1.2.3.4"),
            (WellKnown::Uri(true), "https://a/b?c", "/b"),
            (WellKnown::UriRef(true), "/b?c", "a b"),
            (WellKnown::Address(true), "a.example", "a_b"),
            (WellKnown::Uuid(true), "01234567-89ab-cdef-0123-456789abcdef", "0123"),
        ] {
            let rules = rules::StringRules { well_known: Some(format), ..Default::default() };
            assert_eq!(text(rules.clone(), good), None, "{good}");
            assert!(text(rules, bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn bytes() {
        let base = rules::BytesRules::default;
        let v = |text: &str| Some(text.as_bytes().to_vec());
        let cases = [
            (rules::BytesRules { min_len: Some(2), ..base() }, "ab", "a"),
            (rules::BytesRules { max_len: Some(1), ..base() }, "a", "ab"),
            (rules::BytesRules { prefix: v("a"), ..base() }, "ab", "b"),
            (rules::BytesRules { suffix: v("b"), ..base() }, "ab", "a"),
            (rules::BytesRules { contains: v("b"), ..base() }, "abc", "a"),
            (rules::BytesRules { r#const: v("b"), ..base() }, "b", "a"),
            (rules::BytesRules { r#in: vec![b"b".to_vec()], ..base() }, "b", "a"),
            (rules::BytesRules { not_in: vec![b"a".to_vec()], ..base() }, "b", "a"),
            (rules::BytesRules { pattern: Some("^b$".into()), ..base() }, "b", "a"),
            (rules::BytesRules { well_known: Some(BytesFormat::Ip(true)), ..base() }, "1234", "1"),
        ];
        for (rules, good, bad) in cases {
            let rules = BytesRules::new(&rules);
            assert_eq!(rules.refusal(good.as_bytes()), None, "{good}");
            assert!(rules.refusal(bad.as_bytes()).is_some(), "{bad}");
        }
    }
}
