//! The well-known types that JSON writes in a form of their own, and the text of durations and timestamps.

use std::fmt::Write as _;

use crate::google::protobuf::{Duration, Timestamp};

const NANOS: u32 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    Any,
    Duration,
    Timestamp,
    Wrapper,
    FieldMask,
    Struct,
    Value,
    ListValue,
}

impl WellKnown {
    pub(crate) fn of(full_name: &str) -> Option<Self> {
        Some(match full_name.strip_prefix("google.protobuf.")? {
            "Any" => Self::Any,
            "Duration" => Self::Duration,
            "Timestamp" => Self::Timestamp,
            "FieldMask" => Self::FieldMask,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::ListValue,
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "StringValue"
            | "UInt32Value" | "UInt64Value" => Self::Wrapper,
            _ => return None,
        })
    }
}

/// Seconds with no, three, six or nine digits behind the point: `5.250s`.
pub(crate) fn duration_text(duration: &Duration) -> String {
    let sign = if duration.seconds < 0 || duration.nanos < 0 { "-" } else { "" };
    let mut text = format!("{sign}{}", duration.seconds.unsigned_abs());
    fraction(&mut text, duration.nanos.unsigned_abs());
    text.push('s');
    text
}

/// A decimal number of seconds behind which stands an `s`; at most nine digits behind the point.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, nanos) = parse_fraction(number)?;
    let seconds: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // The range of the definition: ten thousand years either way.
    if seconds > 315_576_000_000 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = i32::try_from(nanos).ok()?;
    Some(if negative { Duration { seconds: -seconds, nanos: -nanos } } else { Duration { seconds, nanos } })
}

fn fraction(text: &mut String, nanos: u32) {
    let (value, width) = match nanos {
        0 => return,
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1_000 == 0 => (n / 1_000, 6),
        n => (n, 9),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, ".{value:0width$}");
}

/// What stands before the point, and what stands behind it as nanoseconds.
fn parse_fraction(number: &str) -> Option<(&str, u32)> {
    let Some((whole, digits)) = number.split_once('.') else {
        return if number.is_empty() { None } else { Some((number, 0)) };
    };
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u32 = digits.parse().ok()?;
    let nanos = u32::try_from(digits.len()).ok().and_then(|len| 10_u32.checked_pow(9 - len))?.checked_mul(value)?;
    (nanos < NANOS).then_some((whole, nanos))
}

/// RFC 3339 in UTC: `2026-01-02T03:04:05.250Z`.
pub(crate) fn timestamp_text(timestamp: &Timestamp) -> String {
    let days = timestamp.seconds.div_euclid(86_400);
    let second = timestamp.seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let mut text =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    fraction(&mut text, timestamp.nanos.unsigned_abs());
    text.push('Z');
    text
}

/// RFC 3339 with `Z` or a numeric offset.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at_checked(zone)?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let offset = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if zone.starts_with('-') { -offset } else { offset }
        }
    };
    let (clock, nanos) = parse_fraction(clock)?;
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !valid || civil(days_from_civil(year, month, day)) != (year, month, day) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { seconds, nanos: i32::try_from(nanos).ok()? })
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar; years begin in March inside, so
/// that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A path of a field mask as JSON writes it.
pub(crate) fn camel_case(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                text.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => text.push(c),
        }
    }
    text
}

pub(crate) fn snake_case(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("5.250s", 5, 250_000_000),
            ("0.000001s", 0, 1000),
            ("-1.500s", -1, -500_000_000),
            ("0.000000001s", 0, 1),
        ] {
            let duration = Duration { seconds, nanos };
            assert_eq!(duration_text(&duration), text);
            assert_eq!(parse_duration(text), Some(duration));
        }
        assert_eq!(parse_duration("1.5s"), Some(Duration { seconds: 1, nanos: 500_000_000 }));
        for bad in ["", "s", "5", "5m", "1.s", "+1s", "1.0000000001s", "315576000001s", "--1s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn timestamps() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2024-02-29T12:30:15.500Z", 1_709_209_815, 500_000_000),
            ("1969-12-31T23:59:59Z", -1, 0),
        ] {
            let timestamp = Timestamp { seconds, nanos };
            assert_eq!(timestamp_text(&timestamp), text);
            assert_eq!(parse_timestamp(text), Some(timestamp));
        }
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00"), Some(Timestamp { seconds: 0, nanos: 0 }));
        assert_eq!(parse_timestamp("2023-02-29T00:00:00Z"), None);
    }
}
