//! The counters in a file, so that a restart forgives nobody.
//!
//! A file is written whole beside the old one and then takes its place; it ends with a checksum. What cannot be read
//! is reported and the service starts empty. Open reservations are not kept apart: what they hold stays spent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::{Counters, Shard};
use crate::template::{Key, Shape, Template, entries};
use crate::unit::{Seconds, Unit};

const MAGIC: &[u8; 16] = b"chancery limits1";

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("rate limit counters in {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("rate limit counters in {path}: {reason}; starting from nothing spent")]
    Damaged { path: PathBuf, reason: &'static str },
}

#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int32, tag = "2")]
    unit: i32,
    #[prost(string, repeated, tag = "3")]
    keys: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    values: Vec<String>,
    #[prost(uint64, tag = "5")]
    used: u64,
    #[prost(uint32, tag = "6")]
    window: u32,
    #[prost(uint32, tag = "7")]
    limit: u32,
    #[prost(float, tag = "8")]
    mean: f32,
}

impl Counters {
    /// Writes the counters whose window is open. One shard at a time is held still, and only while it is copied.
    pub(crate) fn save(&self, path: &Path, now: Seconds) -> Result<usize, StateError> {
        let fail = |source| StateError::Io { path: path.to_owned(), source };
        let unfinished = path.with_extension("new");
        let mut saved = 0;
        let mut digest = Xxh3::new();
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&unfinished).map_err(fail)?);
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            file.write_all(bytes)
        };
        put(MAGIC).map_err(fail)?;
        let mut buffer = Vec::new();
        for shard in &self.shards {
            buffer.clear();
            saved += encode(&shard.lock(), now, &mut buffer);
            put(&buffer).map_err(fail)?;
        }
        file.write_all(&digest.digest().to_le_bytes()).map_err(fail)?;
        let file = file.into_inner().map_err(|error| fail(error.into_error()))?;
        file.sync_all().map_err(fail)?;
        fs::rename(&unfinished, path).map_err(fail)?;
        // The new name is on the disk when its directory is.
        if let Some(directory) = path.parent() {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)?;
        }
        Ok(saved)
    }

    /// Reads what [`Self::save`] wrote; a file that does not exist is nothing spent. The file is read twice, the first
    /// time for its checksum, so that it is never in memory as a whole and nothing is taken from a damaged one.
    pub(crate) fn load(&self, path: &Path, now: Seconds) -> Result<usize, StateError> {
        let fail = |source| StateError::Io { path: path.to_owned(), source };
        let damaged = |reason| StateError::Damaged { path: path.to_owned(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(fail(error)),
        };
        let length =
            file.metadata().map_err(fail)?.len().checked_sub(8).ok_or_else(|| damaged("the file is cut off"))?;
        if !is_whole(&file, length).map_err(fail)? {
            return Err(damaged("the checksum is wrong"));
        }
        let mut file = file;
        file.rewind().map_err(fail)?;
        let mut body = BufReader::with_capacity(1 << 20, file).take(length);
        let mut magic = [0; MAGIC.len()];
        body.read_exact(&mut magic).map_err(fail)?;
        if magic != *MAGIC {
            return Err(damaged("not a file of this version"));
        }
        let mut templates: BTreeMap<Shape, Arc<Template>> = BTreeMap::new();
        let mut loaded = 0;
        let mut buffer = Vec::new();
        while let Some(length) = next_length(&mut body).map_err(fail)? {
            buffer.resize(length, 0);
            body.read_exact(&mut buffer).map_err(fail)?;
            let saved = Saved::decode(buffer.as_slice()).map_err(|_| damaged("a counter cannot be read"))?;
            loaded += usize::from(self.restore(&saved, &mut templates, now));
        }
        Ok(loaded)
    }

    fn restore(&self, saved: &Saved, templates: &mut BTreeMap<Shape, Arc<Template>>, now: Seconds) -> bool {
        let Some(unit) = Unit::from_number(saved.unit).filter(|_| saved.keys.len() == saved.values.len()) else {
            return false;
        };
        if Seconds::from(saved.window) + unit.seconds() <= now {
            return false;
        }
        let shape = Shape {
            domain: saved.domain.as_str().into(),
            unit,
            entries: saved.keys.iter().map(|key| (key.as_str().into(), None)).collect(),
        };
        let template = templates.entry(shape).or_insert_with_key(|shape| Template::new(shape.clone()));
        let pairs = saved.keys.iter().map(String::as_str).zip(saved.values.iter().map(String::as_str));
        let key = Key::new(template, pairs, self.seed, &mut Vec::new());
        let restored = self.with(&key, now, |counter| {
            counter.used = saved.used;
            counter.window = saved.window;
            counter.limit = saved.limit;
            counter.mean = saved.mean;
        });
        restored.is_ok()
    }
}

/// Whether the checksum behind the first `length` bytes is theirs.
fn is_whole(file: &File, length: u64) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut digest = Xxh3::new();
    let mut left = length;
    while left > 0 {
        let bytes = reader.fill_buf()?;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let Some(bytes) = bytes.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        digest.update(bytes);
        reader.consume(count);
        left -= count as u64;
    }
    let mut expected = [0; 8];
    reader.read_exact(&mut expected)?;
    Ok(digest.digest() == u64::from_le_bytes(expected))
}

/// The length that stands before a message; `None` at the end.
fn next_length(reader: &mut impl BufRead) -> io::Result<Option<usize>> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let Some(byte) = reader.fill_buf()?.first().copied() else {
            return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        reader.consume(1);
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(length).map(Some).map_err(|_| io::ErrorKind::InvalidData.into());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn encode(shard: &Shard, now: Seconds, buffer: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for counter in shard.table.iter().filter(|counter| counter.ends() > now) {
        let (keys, values) =
            entries(&counter.template, &counter.values).map(|(k, v)| (k.to_owned(), v.to_owned())).unzip();
        let saved = Saved {
            domain: counter.template.shape.domain.to_string(),
            unit: counter.unit().number(),
            keys,
            values,
            used: counter.used,
            window: counter.window,
            limit: counter.limit,
            mean: counter.mean,
        };
        // Writing to memory cannot fail.
        count += usize::from(saved.encode_length_delimited(buffer).is_ok());
    }
    count
}
