//! What a rule demands of one value, and how a refusal reads.

use prost_reflect::Kind;

use super::plan::Wire;
use super::text::{BytesRules, TextRules};
use crate::generated::google::protobuf::{Duration, Timestamp};
use crate::generated::validate::field_rules::Type;
use crate::wkt;

/// A decoded value.
#[derive(Clone, Copy)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Message(&'a [u8]),
}

pub(super) enum Check {
    Bool(bool),
    Int(Range<i128>),
    Float(Range<f64>),
    Text(Box<TextRules>),
    Bytes(Box<BytesRules>),
    Enum {
        known: Option<Vec<i32>>,
        range: Range<i128>,
    },
    /// Seconds and nanoseconds as one number of nanoseconds.
    Time {
        range: Range<i128>,
        show: fn(i128) -> String,
    },
    Any {
        allowed: Vec<String>,
        refused: Vec<String>,
    },
    /// The rule of a scalar on a message that wraps one.
    Wrapped {
        wire: Wire,
        check: Box<Check>,
    },
}

pub(super) struct Range<T> {
    constant: Option<T>,
    above: Option<(T, Bound)>,
    below: Option<(T, Bound)>,
    allowed: Vec<T>,
    refused: Vec<T>,
    ignore_empty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Inclusive,
    Exclusive,
}

impl<T: PartialOrd + Copy + Default> Range<T> {
    pub(super) fn refusal(&self, value: T, show: impl Fn(T) -> String) -> Option<String> {
        if self.ignore_empty && value == T::default() {
            return None;
        }
        let list = |values: &[T]| values.iter().map(|value| show(*value)).collect::<Vec<_>>().join(", ");
        if let Some(constant) = self.constant.filter(|constant| *constant != value) {
            return Some(format!("must be {}", show(constant)));
        }
        if !self.allowed.is_empty() && !self.allowed.contains(&value) {
            return Some(format!("must be one of {}", list(&self.allowed)));
        }
        if self.refused.contains(&value) {
            return Some(format!("must not be one of {}", list(&self.refused)));
        }
        let over = self.above.is_none_or(|(limit, bound)| value > limit || bound == Bound::Inclusive && value == limit);
        let under =
            self.below.is_none_or(|(limit, bound)| value < limit || bound == Bound::Inclusive && value == limit);
        // Bounds that cross leave out what lies between them.
        let crossed = matches!((self.above, self.below), (Some((low, _)), Some((high, _))) if high < low);
        if (over && under) || (crossed && (over || under)) {
            return None;
        }
        let above = self.above.map(|(limit, bound)| match bound {
            Bound::Inclusive => format!("at least {}", show(limit)),
            Bound::Exclusive => format!("greater than {}", show(limit)),
        });
        let below = self.below.map(|(limit, bound)| match bound {
            Bound::Inclusive => format!("at most {}", show(limit)),
            Bound::Exclusive => format!("less than {}", show(limit)),
        });
        let parts: Vec<String> = above.into_iter().chain(below).collect();
        Some(format!("must be {}, is {}", parts.join(if crossed { " or " } else { " and " }), show(value)))
    }
}

/// Every kind of number has the same rules under a type of its own.
macro_rules! range {
    ($rules:expr) => {{
        let rules = $rules;
        Range {
            constant: rules.r#const.map(Into::into),
            above: bound(rules.gte.map(Into::into), rules.gt.map(Into::into)),
            below: bound(rules.lte.map(Into::into), rules.lt.map(Into::into)),
            allowed: rules.r#in.iter().copied().map(Into::into).collect(),
            refused: rules.not_in.iter().copied().map(Into::into).collect(),
            ignore_empty: rules.ignore_empty(),
        }
    }};
}

fn bound<T>(inclusive: Option<T>, exclusive: Option<T>) -> Option<(T, Bound)> {
    inclusive.map(|limit| (limit, Bound::Inclusive)).or_else(|| exclusive.map(|limit| (limit, Bound::Exclusive)))
}

pub(super) fn nanos(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

fn split(nanos: i128) -> (i64, i32) {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    (seconds, i32::try_from(nanos % 1_000_000_000).unwrap_or(0))
}

fn show_duration(value: i128) -> String {
    let (seconds, nanos) = split(value);
    wkt::duration_text(&Duration { seconds, nanos })
}

fn show_timestamp(value: i128) -> String {
    let (seconds, nanos) = split(value);
    wkt::timestamp_text(&Timestamp { seconds, nanos })
}

impl Check {
    /// `None` for rules that say nothing about a value that is there.
    pub(super) fn new(rules: &Type, kind: &Kind) -> Option<Self> {
        let check = match rules {
            Type::Float(rules) => Self::Float(range!(rules)),
            Type::Double(rules) => Self::Float(range!(rules)),
            Type::Int32(rules) => Self::Int(range!(rules)),
            Type::Int64(rules) => Self::Int(range!(rules)),
            Type::Uint32(rules) => Self::Int(range!(rules)),
            Type::Uint64(rules) => Self::Int(range!(rules)),
            Type::Sint32(rules) => Self::Int(range!(rules)),
            Type::Sint64(rules) => Self::Int(range!(rules)),
            Type::Fixed32(rules) => Self::Int(range!(rules)),
            Type::Fixed64(rules) => Self::Int(range!(rules)),
            Type::Sfixed32(rules) => Self::Int(range!(rules)),
            Type::Sfixed64(rules) => Self::Int(range!(rules)),
            Type::Bool(rules) => Self::Bool(rules.r#const?),
            Type::String(rules) => Self::Text(Box::new(TextRules::new(rules))),
            Type::Bytes(rules) => Self::Bytes(Box::new(BytesRules::new(rules))),
            Type::Enum(rules) => {
                let known = kind.as_enum().filter(|_| rules.defined_only());
                Self::Enum {
                    known: known.map(|kind| kind.values().map(|value| value.number()).collect()),
                    range: Range {
                        constant: rules.r#const.map(Into::into),
                        above: None,
                        below: None,
                        allowed: rules.r#in.iter().copied().map(Into::into).collect(),
                        refused: rules.not_in.iter().copied().map(Into::into).collect(),
                        ignore_empty: false,
                    },
                }
            }
            Type::Duration(rules) => {
                let one = |d: &Duration| nanos(d.seconds, d.nanos);
                let range = Range {
                    constant: rules.r#const.as_ref().map(one),
                    above: bound(rules.gte.as_ref().map(one), rules.gt.as_ref().map(one)),
                    below: bound(rules.lte.as_ref().map(one), rules.lt.as_ref().map(one)),
                    allowed: rules.r#in.iter().map(one).collect(),
                    refused: rules.not_in.iter().map(one).collect(),
                    ignore_empty: false,
                };
                Self::Time { range, show: show_duration }
            }
            // What compares with the present moment is left out: the answer about a resource must not change with time.
            Type::Timestamp(rules) => {
                let one = |t: &Timestamp| nanos(t.seconds, t.nanos);
                let range = Range {
                    constant: rules.r#const.as_ref().map(one),
                    above: bound(rules.gte.as_ref().map(one), rules.gt.as_ref().map(one)),
                    below: bound(rules.lte.as_ref().map(one), rules.lt.as_ref().map(one)),
                    allowed: Vec::new(),
                    refused: Vec::new(),
                    ignore_empty: false,
                };
                Self::Time { range, show: show_timestamp }
            }
            Type::Any(rules) if rules.r#in.is_empty() && rules.not_in.is_empty() => return None,
            Type::Any(rules) => Self::Any { allowed: rules.r#in.clone(), refused: rules.not_in.clone() },
            // These describe the field, not a value in it.
            Type::Repeated(_) | Type::Map(_) => return None,
        };
        match (kind, &check) {
            (Kind::Message(_), Self::Time { .. } | Self::Any { .. }) => Some(check),
            (Kind::Message(wrapper), _) => {
                let wire = Wire::of(&wrapper.get_field(1)?.kind());
                Some(Self::Wrapped { wire, check: Box::new(check) })
            }
            _ => Some(check),
        }
    }

    /// Why the value is not acceptable; messages are looked into by the walker.
    pub(super) fn refusal(&self, value: Scalar<'_>) -> Option<String> {
        match (self, value) {
            (Self::Bool(wanted), Scalar::Bool(value)) => (*wanted != value).then(|| format!("must be {wanted}")),
            (Self::Int(range), Scalar::Int(value)) => range.refusal(value, |v| v.to_string()),
            (Self::Float(range), Scalar::Float(value)) => range.refusal(value, |v| v.to_string()),
            (Self::Text(rules), Scalar::Text(value)) => rules.refusal(value),
            (Self::Bytes(rules), Scalar::Bytes(value)) => rules.refusal(value),
            (Self::Enum { known, range }, Scalar::Int(value)) => {
                if known.as_ref().is_some_and(|known| !known.iter().any(|number| i128::from(*number) == value)) {
                    return Some(format!("{value} is no value of this enum"));
                }
                range.refusal(value, |v| v.to_string())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::validate as pgv;

    fn int(rules: pgv::Int32Rules, value: i128) -> Option<String> {
        Check::new(&Type::Int32(rules), &Kind::Int32).unwrap().refusal(Scalar::Int(value))
    }

    #[test]
    fn ranges() {
        let rules = pgv::Int32Rules { gt: Some(0), lte: Some(10), ..Default::default() };
        assert_eq!(int(rules.clone(), 1), None);
        assert_eq!(int(rules.clone(), 10), None);
        assert_eq!(int(rules.clone(), 0).unwrap(), "must be greater than 0 and at most 10, is 0");
        assert_eq!(int(rules, 11).unwrap(), "must be greater than 0 and at most 10, is 11");
        let outside = pgv::Int32Rules { gte: Some(10), lt: Some(0), ..Default::default() };
        assert_eq!((int(outside.clone(), -1), int(outside.clone(), 10)), (None, None));
        assert_eq!(int(outside, 5).unwrap(), "must be at least 10 or less than 0, is 5");
        let listed = pgv::Int32Rules { r#in: vec![1, 2], ..Default::default() };
        assert_eq!((int(listed.clone(), 2), int(listed, 3).unwrap().as_str()), (None, "must be one of 1, 2"));
        let refused = pgv::Int32Rules { not_in: vec![1], ..Default::default() };
        assert_eq!((int(refused.clone(), 2), int(refused, 1).unwrap().as_str()), (None, "must not be one of 1"));
        let exact = pgv::Int32Rules { r#const: Some(4), ..Default::default() };
        assert_eq!((int(exact.clone(), 4), int(exact, 5).unwrap().as_str()), (None, "must be 4"));
        let maybe = pgv::Int32Rules { gt: Some(5), ignore_empty: Some(true), ..Default::default() };
        assert_eq!((int(maybe.clone(), 0), int(maybe, 5).is_some()), (None, true));
    }

    #[test]
    fn booleans_floats_and_enums() {
        let on = Check::new(&Type::Bool(pgv::BoolRules { r#const: Some(true) }), &Kind::Bool).unwrap();
        assert_eq!(on.refusal(Scalar::Bool(true)), None);
        assert_eq!(on.refusal(Scalar::Bool(false)).unwrap(), "must be true");
        let half = pgv::FloatRules { lt: Some(0.5), ..Default::default() };
        let half = Check::new(&Type::Float(half), &Kind::Float).unwrap();
        assert_eq!(half.refusal(Scalar::Float(0.5)).unwrap(), "must be less than 0.5, is 0.5");
        let kind = Kind::Enum(crate::pool().get_enum_by_name("envoy.config.core.v3.ApiVersion").unwrap());
        let rules = pgv::EnumRules { defined_only: Some(true), not_in: vec![0], ..Default::default() };
        let check = Check::new(&Type::Enum(rules), &kind).unwrap();
        assert_eq!(check.refusal(Scalar::Int(2)), None);
        assert_eq!(check.refusal(Scalar::Int(0)).unwrap(), "must not be one of 0");
        assert_eq!(check.refusal(Scalar::Int(9)).unwrap(), "9 is no value of this enum");
    }

    /// Every rule in the descriptors is one that is checked: no pattern that does not compile, no clock.
    #[test]
    fn nothing_in_the_api_is_left_unchecked() {
        let extension = crate::pool().get_extension_by_name("validate.rules").unwrap();
        let mut found = 0;
        for field in crate::pool().all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
            let options = field.options();
            if !options.has_extension(&extension) {
                continue;
            }
            found += 1;
            let rules: pgv::FieldRules =
                options.get_extension(&extension).as_message().unwrap().transcode_to().unwrap();
            match rules.r#type {
                Some(Type::String(pgv::StringRules { pattern: Some(pattern), .. })) => {
                    assert!(regex::Regex::new(&pattern).is_ok(), "{}: {pattern}", field.full_name());
                }
                Some(Type::Timestamp(rules)) => {
                    assert!(rules.lt_now.is_none() && rules.gt_now.is_none() && rules.within.is_none());
                }
                _ => {}
            }
        }
        assert!(found > 1200, "{found}");
    }
}
