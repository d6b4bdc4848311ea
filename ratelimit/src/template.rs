//! What counters of one rule have in common, and how one of them is told from the others.
//!
//! A counter is identified by its domain, its unit and the entries of the request, key by key and value by value.
//! What the rule fixes is stored once, in its template; a counter stores only the values that differ. Two counters of
//! different templates are the same one if their entries are, so that a rule may be added or taken away beside
//! another without anyone's count starting over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smol_str::{SmolStr, SmolStrBuilder};

use crate::unit::Unit;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) domain: Arc<str>,
    pub(crate) unit: Unit,
    /// Keys with their value where the rule names one.
    pub(crate) entries: Vec<(Box<str>, Option<Box<str>>)>,
}

#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) shape: Shape,
    /// What a request under this rule cost lately, as the bits of an `f32`; 0 where none was settled yet.
    mean: AtomicU32,
}

impl Template {
    pub(crate) fn new(shape: Shape) -> Arc<Self> {
        Arc::new(Self { shape, mean: AtomicU32::new(0) })
    }

    pub(crate) fn mean(&self) -> f32 {
        f32::from_bits(self.mean.load(Ordering::Relaxed))
    }

    /// Lost updates between threads are harmless: it is an estimate.
    pub(crate) fn learn(&self, cost: f32) {
        self.mean.store(follow(self.mean(), cost).to_bits(), Ordering::Relaxed);
    }

    fn varying(&self) -> usize {
        self.shape.entries.iter().filter(|(_, value)| value.is_none()).count()
    }
}

/// A mean that forgets: the last eight or so costs count.
pub(crate) fn follow(mean: f32, cost: f32) -> f32 {
    if mean == 0.0 { cost } else { mean + (cost - mean) / 8.0 }
}

/// One counter's identity, with the hash it is found by.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) hash: u64,
    pub(crate) template: Arc<Template>,
    /// The values the template leaves open: the last one as it is, each before it behind its length.
    pub(crate) values: SmolStr,
}

impl Key {
    /// `entries` are as many as the template's, with the keys that stand there.
    pub(crate) fn new<'a>(
        template: &Arc<Template>,
        entries: impl Iterator<Item = (&'a str, &'a str)>,
        seed: u64,
        buffer: &mut Vec<u8>,
    ) -> Self {
        let shape = &template.shape;
        buffer.clear();
        buffer.push(u8::try_from(shape.unit.number()).unwrap_or(0));
        hashed(buffer, &shape.domain);
        let mut open = template.varying();
        let mut values = None;
        let mut joined: Option<SmolStrBuilder> = None;
        for ((key, fixed), (_, value)) in shape.entries.iter().zip(entries) {
            hashed(buffer, key);
            hashed(buffer, value);
            if fixed.is_some() {
                continue;
            }
            open -= 1;
            match &mut joined {
                None if open == 0 => values = Some(SmolStr::new(value)),
                joined => {
                    let joined = joined.get_or_insert_default();
                    if open > 0 {
                        joined.push_str(&value.len().to_string());
                        joined.push(':');
                    }
                    joined.push_str(value);
                }
            }
        }
        let values = joined.map(|joined| joined.finish()).or(values).unwrap_or_default();
        Self { hash: xxhash_rust::xxh3::xxh3_64_with_seed(buffer, seed), template: Arc::clone(template), values }
    }

    pub(crate) fn is(&self, template: &Arc<Template>, values: &SmolStr) -> bool {
        if Arc::ptr_eq(&self.template, template) {
            return self.values == *values;
        }
        let (own, other) = (&self.template.shape, &template.shape);
        own.unit == other.unit
            && own.domain == other.domain
            && own.entries.len() == other.entries.len()
            && entries(&self.template, &self.values).eq(entries(template, values))
    }
}

/// A length before the text: `a`, `bc` and `ab`, `c` do not look the same.
fn hashed(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend_from_slice(&(text.len() as u64).to_le_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

/// Keys and values of a counter, as the request had them.
pub(crate) fn entries<'a>(template: &'a Template, values: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut rest = values;
    let mut open = template.varying();
    template.shape.entries.iter().map(move |(key, fixed)| {
        if let Some(value) = fixed {
            return (&**key, &**value);
        }
        open -= 1;
        if open == 0 {
            return (&**key, rest);
        }
        let value = rest.split_once(':').and_then(|(length, tail)| tail.split_at_checked(length.parse().ok()?));
        let (value, tail) = value.unwrap_or((rest, ""));
        rest = tail;
        (&**key, value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(entries: &[(&str, Option<&str>)]) -> Arc<Template> {
        let entries = entries.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect();
        Template::new(Shape { domain: "d".into(), unit: Unit::Hour, entries })
    }

    fn key(template: &Arc<Template>, entries: &[(&str, &str)]) -> Key {
        Key::new(template, entries.iter().copied(), 7, &mut Vec::new())
    }

    #[test]
    fn entries_come_back_and_identity_is_by_content() {
        let request = [("a", "1:2"), ("b", "fixed"), ("c", ""), ("d", "x:y")];
        let open = template(&[("a", None), ("b", None), ("c", None), ("d", None)]);
        let partly = template(&[("a", None), ("b", Some("fixed")), ("c", None), ("d", Some("x:y"))]);
        let (one, two) = (key(&open, &request), key(&partly, &request));
        for key in [&one, &two] {
            assert_eq!(entries(&key.template, &key.values).collect::<Vec<_>>(), request);
        }
        assert_eq!(one.hash, two.hash);
        assert!(one.is(&two.template, &two.values));
        let other = key(&open, &[("a", "1:2"), ("b", "fixed"), ("c", "x"), ("d", ":y")]);
        assert!(!other.is(&one.template, &one.values) && !other.is(&two.template, &two.values));
        assert_ne!(other.hash, one.hash);
    }

    #[test]
    fn neighbours_do_not_meet() {
        let one = key(&template(&[("ca", None)]), &[("ca", "b_x")]);
        let two = key(&template(&[("ca_b", None)]), &[("ca_b", "x")]);
        assert!(one.hash != two.hash && !one.is(&two.template, &two.values));
    }
}
