//! The walk over a message's bytes along its table of rules.
//!
//! Bytes are taken as encoders write them: a field without presence at most once, a packed list or not. Nothing is
//! copied; a path is written out only for what is refused.

use std::borrow::Cow;
use std::collections::BTreeSet;

use prost::encoding::WireType;

use super::FieldError;
use super::plan::{Absent, FieldPlan, Inside, Label, MessagePlan, Plans, ValuePlan, Wire};
use super::rules::{Check, Scalar, nanos};
use crate::path::{Path, Step};
use crate::wire::{Malformed, Raw, any, next, value};

pub(super) struct Walk {
    plans: &'static Plans,
    pub(super) errors: Vec<FieldError>,
}

fn scalar<'a>(wire: Wire, raw: Raw<'a>) -> Result<Scalar<'a>, Malformed> {
    Ok(match (wire, raw) {
        (Wire::Bool, Raw::Varint(value)) => Scalar::Bool(value != 0),
        (Wire::Signed, Raw::Varint(value)) => Scalar::Int(value.cast_signed().into()),
        (Wire::Unsigned, Raw::Varint(value)) => Scalar::Int(value.into()),
        (Wire::ZigZag, Raw::Varint(value)) => {
            Scalar::Int(i128::from((value >> 1).cast_signed() ^ -((value & 1).cast_signed())))
        }
        (Wire::Fixed32, Raw::Four(value)) => Scalar::Int(value.into()),
        (Wire::SignedFixed32, Raw::Four(value)) => Scalar::Int(value.cast_signed().into()),
        (Wire::Float, Raw::Four(value)) => Scalar::Float(f32::from_bits(value).into()),
        (Wire::Fixed64, Raw::Eight(value)) => Scalar::Int(value.into()),
        (Wire::SignedFixed64, Raw::Eight(value)) => Scalar::Int(value.cast_signed().into()),
        (Wire::Double, Raw::Eight(value)) => Scalar::Float(f64::from_bits(value)),
        (Wire::Text, Raw::Slice(bytes)) => Scalar::Text(std::str::from_utf8(bytes).map_err(|_| Malformed)?),
        (Wire::Bytes, Raw::Slice(bytes)) => Scalar::Bytes(bytes),
        (Wire::Message, Raw::Slice(bytes)) => Scalar::Message(bytes),
        _ => return Err(Malformed),
    })
}

fn default(wire: Wire) -> Scalar<'static> {
    match wire {
        Wire::Bool => Scalar::Bool(false),
        Wire::Float | Wire::Double => Scalar::Float(0.0),
        Wire::Text => Scalar::Text(""),
        Wire::Bytes => Scalar::Bytes(&[]),
        Wire::Message => Scalar::Message(&[]),
        _ => Scalar::Int(0),
    }
}

/// The elements of a list field's occurrence: many when packed.
fn unpack<'a>(wire: Wire, raw: Raw<'a>) -> Result<Vec<Raw<'a>>, Malformed> {
    let element = match wire {
        Wire::Text | Wire::Bytes | Wire::Message => return Ok(vec![raw]),
        Wire::Fixed32 | Wire::SignedFixed32 | Wire::Float => WireType::ThirtyTwoBit,
        Wire::Fixed64 | Wire::SignedFixed64 | Wire::Double => WireType::SixtyFourBit,
        _ => WireType::Varint,
    };
    let Raw::Slice(mut packed) = raw else { return Ok(vec![raw]) };
    let mut elements = Vec::new();
    while !packed.is_empty() {
        elements.push(value(element, &mut packed)?);
    }
    Ok(elements)
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { plans: Plans::shared(), errors: Vec::new() }
    }

    fn refuse(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.errors.push(FieldError { path: path.text(), message: message.into() });
    }

    pub(super) fn named(&mut self, name: &str, bytes: &[u8], path: &Path<'_>) {
        match self.plans.named(name) {
            Some(plan) => self.message(plan, bytes, path),
            None => self.refuse(path, format!("{name} is not in Envoy's API")),
        }
    }

    fn message(&mut self, plan: &'static MessagePlan, bytes: &[u8], path: &Path<'_>) {
        if path.too_deep() {
            self.refuse(path, "nested too deeply");
        } else if self.fields(plan, bytes, path).is_err() {
            self.refuse(path, format!("not an encoded {}", plan.name));
        }
    }

    fn fields(&mut self, plan: &'static MessagePlan, mut bytes: &[u8], path: &Path<'_>) -> Result<(), Malformed> {
        if plan.fields.is_empty() && plan.required_oneofs.is_empty() {
            return Ok(());
        }
        let mut counts = vec![0_usize; plan.fields.len()];
        let mut distinct: BTreeSet<(u32, Cow<'_, [u8]>)> = BTreeSet::new();
        while !bytes.is_empty() {
            let (number, raw) = next(&mut bytes)?;
            let Ok(index) = plan.fields.binary_search_by_key(&number, |field| field.number) else { continue };
            let (Some(field), Some(count)) = (plan.fields.get(index), counts.get_mut(index)) else { continue };
            let path = path.join(Step::Field(&field.name));
            match &field.label {
                Label::Single => {
                    *count += 1;
                    self.value(&field.value, scalar(field.value.wire, raw)?, &path);
                }
                Label::List { unique, .. } => {
                    for raw in unpack(field.value.wire, raw)? {
                        let path = path.join(Step::Index(*count));
                        *count += 1;
                        if *unique && !distinct.insert((number, identity(raw))) {
                            self.refuse(&path, "must not repeat an earlier item");
                        }
                        self.value(&field.value, scalar(field.value.wire, raw)?, &path);
                    }
                }
                Label::Map { key, .. } => {
                    *count += 1;
                    self.entry(key, &field.value, raw, &path)?;
                }
            }
        }
        for (field, count) in plan.fields.iter().zip(&counts) {
            self.count(field, *count, path);
        }
        for oneof in &plan.required_oneofs {
            let set = |field: &FieldPlan| oneof.numbers.contains(&field.number);
            if !plan.fields.iter().zip(&counts).any(|(field, count)| *count > 0 && set(field)) {
                self.refuse(&path.join(Step::Field(&oneof.name)), "one of its fields must be set");
            }
        }
        Ok(())
    }

    /// Rules about how often a field is there.
    fn count(&mut self, field: &'static FieldPlan, count: usize, path: &Path<'_>) {
        let path = path.join(Step::Field(&field.name));
        let (min, max, ignore_empty, noun) = match &field.label {
            Label::Single => {
                match field.absent {
                    Absent::Refused if count == 0 => self.refuse(&path, "must be set"),
                    Absent::IsDefault if count == 0 => self.value(&field.value, default(field.value.wire), &path),
                    _ => {}
                }
                return;
            }
            Label::List { min, max, ignore_empty, .. } => (*min, *max, *ignore_empty, "items"),
            Label::Map { min, max, ignore_empty, .. } => (*min, *max, *ignore_empty, "entries"),
        };
        let count = count as u64;
        if count < min && !(ignore_empty && count == 0) {
            self.refuse(
                &path,
                if count == 0 {
                    "must not be empty".into()
                } else {
                    format!("must have at least {min} {noun}, has {count}")
                },
            );
        } else if count > max {
            self.refuse(&path, format!("must have at most {max} {noun}, has {count}"));
        }
    }

    fn entry(
        &mut self,
        key: &'static ValuePlan,
        item: &'static ValuePlan,
        raw: Raw<'_>,
        path: &Path<'_>,
    ) -> Result<(), Malformed> {
        let Raw::Slice(mut entry) = raw else { return Err(Malformed) };
        // An encoder leaves out a key or value at its default.
        let (mut key_value, mut item_value) = (default(key.wire), default(item.wire));
        while !entry.is_empty() {
            match next(&mut entry)? {
                (1, raw) => key_value = scalar(key.wire, raw)?,
                (2, raw) => item_value = scalar(item.wire, raw)?,
                _ => {}
            }
        }
        let text: Cow<'_, str> = match key_value {
            Scalar::Text(text) => text.into(),
            Scalar::Int(number) => number.to_string().into(),
            Scalar::Bool(value) => value.to_string().into(),
            _ => return Err(Malformed),
        };
        let path = path.join(Step::Key(&text));
        self.value(key, key_value, &path);
        self.value(item, item_value, &path);
        Ok(())
    }

    fn value(&mut self, plan: &'static ValuePlan, value: Scalar<'_>, path: &Path<'_>) {
        if let Some(check) = &plan.check
            && let Some(reason) = refusal(check, value)
        {
            self.refuse(path, reason);
        }
        let Scalar::Message(bytes) = value else { return };
        match plan.inside {
            Inside::Nothing => {}
            Inside::Message(index) => {
                if let Some(plan) = self.plans.get(index) {
                    self.message(plan, bytes, path);
                }
            }
            Inside::Any => match any(bytes) {
                Ok(("", [])) => {}
                Ok((url, content)) => self.named(url.rsplit('/').next().unwrap_or_default(), content, path),
                Err(Malformed) => self.refuse(path, "not an encoded google.protobuf.Any"),
            },
        }
    }
}

/// What makes two items of a list the same.
fn identity(raw: Raw<'_>) -> Cow<'_, [u8]> {
    match raw {
        Raw::Varint(value) | Raw::Eight(value) => Cow::Owned(value.to_le_bytes().to_vec()),
        Raw::Four(value) => Cow::Owned(value.to_le_bytes().to_vec()),
        Raw::Slice(bytes) => Cow::Borrowed(bytes),
    }
}

fn refusal(check: &Check, value: Scalar<'_>) -> Option<String> {
    let malformed = |_: Malformed| "malformed".to_owned();
    match (check, value) {
        (Check::Wrapped { wire, check }, Scalar::Message(bytes)) => match wrapped(*wire, bytes) {
            Ok(value) => check.refusal(value),
            Err(error) => Some(malformed(error)),
        },
        (Check::Time { range, show }, Scalar::Message(bytes)) => match time(bytes) {
            Ok(value) => range.refusal(value, show),
            Err(error) => Some(malformed(error)),
        },
        (Check::Any { allowed, refused }, Scalar::Message(bytes)) => match any(bytes) {
            Ok((url, _)) if !allowed.is_empty() && !allowed.iter().any(|type_url| type_url == url) => {
                Some(format!("must hold one of {}", allowed.join(", ")))
            }
            Ok((url, _)) if refused.iter().any(|type_url| type_url == url) => Some(format!("must not hold {url}")),
            Ok(_) => None,
            Err(error) => Some(malformed(error)),
        },
        (check, value) => check.refusal(value),
    }
}

fn wrapped(wire: Wire, mut bytes: &[u8]) -> Result<Scalar<'_>, Malformed> {
    let mut found = default(wire);
    while !bytes.is_empty() {
        if let (1, raw) = next(&mut bytes)? {
            found = scalar(wire, raw)?;
        }
    }
    Ok(found)
}

fn time(mut bytes: &[u8]) -> Result<i128, Malformed> {
    let (mut seconds, mut fraction) = (0_i64, 0_i64);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => fraction = value.cast_signed(),
            _ => {}
        }
    }
    Ok(nanos(seconds, i32::try_from(fraction).map_err(|_| Malformed)?))
}
