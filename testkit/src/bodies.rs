//! Bodies as clients might send them, good, odd and broken, and what `serde_json` makes of them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields that the gateway reads: none of them may be there twice, or be written with escapes.
pub const READ: [&str; 7] =
    ["model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "max_output_tokens"];

/// What becomes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Refused,
    Model(String),
    Nameless,
}

/// A sequence of numbers that depends on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % bound.max(1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

const SPACES: [&str; 9] = ["", "", "", " ", "\n", "\t", "\r\n", "  ", "\u{a0}"];
const KEYS: [&str; 14] = [
    "model",
    "Model",
    "models",
    "model ",
    "messages",
    "user",
    "stream",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "temp\u{e9}rature",
    "seed",
    "",
];
const PIECES: [&str; 30] = [
    "gpt",
    "-",
    "4o",
    "org/",
    "m",
    " ",
    ":",
    ",",
    "{",
    "}",
    "[",
    "]",
    "\u{e9}",
    "\u{6f22}",
    "\u{1f600}",
    "\\\"",
    "\\\\",
    "\\/",
    "\\n",
    "\\u0041",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\\"model\\\":\\\"evil\\\"",
    "\\\\\\\\",
    "\\\\\\\"",
    "\\u006d\\u006f\\u0064\\u0065\\u006c",
    "'",
    "\u{7f}",
    "\\u0000",
    "\u{2028}",
];
const BROKEN_PIECES: [&[u8]; 9] =
    [b"\\x", b"\\u12", b"\\ud800", b"\\udc00x", b"\x01", b"\n", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"];
const NUMBERS: [&str; 12] =
    ["0", "-0", "1", "-17", "3.25", "1e5", "2E-7", "1.5e+10", "9007199254740993", "12345678901234567890", "0.0", "100"];
const BROKEN_VALUES: [&str; 16] =
    ["01", "1.", ".5", "1e", "1e+", "-", "+1", "NaN", "Infinity", "0x10", "truth", "nul", "'a'", "", "--1", "1 2"];
const OTHER_BODIES: [&str; 10] =
    ["", " ", "[]", "\"model\"", "null", "5", "{}", " {} ", "{\"model\"}", "[{\"model\":\"a\"}]"];

/// Any body of a seed.
#[must_use]
pub fn body(random: &mut Random) -> Vec<u8> {
    if random.one_in(50) {
        return random.pick(&OTHER_BODIES).as_bytes().to_vec();
    }
    let mut text = Vec::new();
    space(&mut text, random);
    object(&mut text, random, &KEYS, 4);
    space(&mut text, random);
    if random.one_in(3) {
        damage(&mut text, random);
    }
    text
}

fn space(text: &mut Vec<u8>, random: &mut Random) {
    // A space that JSON does not know is rare.
    let some = if random.one_in(200) { SPACES.len() } else { SPACES.len() - 1 };
    text.extend(random.pick(&SPACES[..some]).bytes());
}

fn object(text: &mut Vec<u8>, random: &mut Random, keys: &[&str], depth: usize) {
    text.push(b'{');
    let fields = random.below(6);
    for at in 0..fields {
        if at > 0 {
            text.push(b',');
        }
        space(text, random);
        let key = if at == 0 && random.one_in(2) { "model" } else { random.pick(keys) };
        if random.one_in(30) {
            escaped_key(text, key, random);
        } else if random.one_in(10) {
            string(text, random);
        } else {
            text.extend(format!("\"{key}\"").bytes());
        }
        space(text, random);
        text.push(b':');
        space(text, random);
        if key == "model" && !random.one_in(6) {
            string(text, random)
        } else {
            value(text, random, depth)
        }
        space(text, random);
    }
    text.push(b'}');
}

/// A key with some of its characters as escapes.
fn escaped_key(text: &mut Vec<u8>, key: &str, random: &mut Random) {
    text.push(b'"');
    for character in key.chars() {
        if random.one_in(3) {
            text.extend(format!("\\u{:04x}", u32::from(character)).bytes());
        } else {
            text.extend(character.to_string().bytes());
        }
    }
    text.push(b'"');
}

fn string(text: &mut Vec<u8>, random: &mut Random) {
    text.push(b'"');
    for _ in 0..random.below(6) {
        text.extend(random.pick(&PIECES).bytes());
    }
    if random.one_in(25) {
        text.extend(random.pick(&BROKEN_PIECES));
        text.extend(random.pick(&PIECES).bytes());
    }
    if random.one_in(300) {
        text.extend("x".repeat(490 + random.below(40)).bytes());
    }
    text.push(b'"');
}

fn value(text: &mut Vec<u8>, random: &mut Random, depth: usize) {
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 | 1 => string(text, random),
        2 => text.extend(random.pick(&NUMBERS).bytes()),
        3 => text.extend(random.pick(&["true", "false", "null"]).bytes()),
        4 if random.one_in(8) => text.extend(random.pick(&BROKEN_VALUES).bytes()),
        4 => text.extend(random.below(100_000).to_string().bytes()),
        5 | 6 => object(text, random, &KEYS, depth - 1),
        7 if random.one_in(12) => {
            // About as deep as anybody reads.
            let deep = 120 + random.below(12);
            text.extend("[".repeat(deep).bytes());
            text.extend("]".repeat(deep).bytes());
        }
        _ => {
            text.push(b'[');
            for at in 0..random.below(4) {
                if at > 0 {
                    text.push(b',');
                }
                space(text, random);
                value(text, random, depth - 1);
            }
            space(text, random);
            text.push(b']');
        }
    }
}

fn damage(text: &mut Vec<u8>, random: &mut Random) {
    const MARKS: [&str; 12] = ["\"", "\\", "{", "}", "[", "]", ":", ",", "\u{feff}", "\0", "9", "model"];
    let at = random.below(text.len());
    match random.below(6) {
        0 | 1 => text.truncate(at),
        2 => drop(text.remove(at)),
        3 => drop(text.splice(at..at, random.pick(&MARKS).bytes())),
        4 => text.extend(random.pick(&["}", ",", "x", "{}", "\0", " \n"]).bytes()),
        _ => {
            let end = (at + random.below(12)).min(text.len());
            let copy = text[at..end].to_vec();
            text.splice(at..at, copy);
        }
    }
}

/// What `serde_json` makes of a body; none where it and the gateway may well differ: a number that no `f64` holds.
#[must_use]
pub fn verdict(body: &[u8]) -> Option<Verdict> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader.deserialize_map(Fields).and_then(|read| reader.end().map(|()| read));
    match read {
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(Verdict::Refused),
        Ok(None) => Some(Verdict::Nameless),
        Ok(Some(model)) if model.is_empty() => Some(Verdict::Nameless),
        Ok(Some(model)) => {
            let name = model.len() <= 512
                && model.trim_matches(' ') == model
                && !model.chars().any(|one| one.is_ascii_control());
            Some(if name { Verdict::Model(model) } else { Verdict::Refused })
        }
    }
}

/// The top of an object: its model, if it names one.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut seen, mut model) = (Vec::new(), None);
        while let Some(key) = fields.next_key_seed(Text)? {
            let key = key.ok_or_else(|| de::Error::custom("not a key"))?;
            let Some(read) = READ.into_iter().find(|read| *read == key) else {
                fields.next_value_seed(Anything)?;
                continue;
            };
            // Only what has escapes is not borrowed.
            if seen.contains(&read) || matches!(key, Cow::Owned(_)) {
                return Err(de::Error::custom("twice, or hidden"));
            }
            seen.push(read);
            if read == "model" {
                let text = fields.next_value_seed(Text)?;
                model = Some(text.ok_or_else(|| de::Error::custom("not a string"))?.into_owned());
            } else {
                fields.next_value_seed(Anything)?;
            }
        }
        Ok(model)
    }
}

/// A value that is read in full and forgotten.
struct Anything;

impl<'de> DeserializeSeed<'de> for Anything {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Text.deserialize(deserializer).map(drop)
    }
}

/// A string, or nothing for any other value.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        while all.next_element_seed(Anything)?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        while all.next_key::<IgnoredAny>()?.is_some() {
            all.next_value_seed(Anything)?;
        }
        Ok(None)
    }
}

/// The body with nothing in strings that the gateway does not read: it looks for their ends only, and what is wrong in
/// them is for the server to refuse.
#[must_use]
pub fn without_strings(body: &[u8]) -> Vec<u8> {
    let mut text = body.to_vec();
    let (mut depth, mut key, mut read) = (0_usize, false, false);
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                key = byte == b'{';
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => key = depth == 1,
            b':' => key = false,
            b'"' => {
                let Some(end) = string_end(&text, at) else { break };
                let content = at + 1..end;
                if depth == 1 && key {
                    read = &text[content] == b"model";
                } else if !(depth == 1 && read) {
                    text[content].fill(b'x');
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    text
}

fn string_end(text: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
