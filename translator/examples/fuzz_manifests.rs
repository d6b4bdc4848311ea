//! `make fuzz`: damaged manifests, for as long as it is told. Nothing may panic, and nothing that Envoy would refuse may
//! come out.
//!
//! Each round takes some cases of `testdata/`, damages their text, reads and translates it, and compares the result with
//! that of the same objects taken in one by one. A round is named by its seed, and can be run again by it alone.

#![allow(clippy::print_stdout)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinds::Parsed;
use translator::{Change, Options, Translator};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let only: Option<u64> = arguments.next().and_then(|text| text.parse().ok());
    let inputs = inputs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata"));
    let begin = Instant::now();
    let first = only.unwrap_or_else(|| std::process::id().into());
    let (mut rounds, mut objects, mut failures) = (0_u64, 0_usize, 0_usize);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let seed = first.wrapping_add(rounds);
        let text = damaged(&inputs, &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        match catch_unwind(AssertUnwindSafe(|| round(&text))) {
            Ok(Ok(count)) => objects += count,
            Ok(Err(problem)) => failures += failed(seed, &text, &problem),
            Err(_) => failures += failed(seed, &text, "panic"),
        }
        rounds += 1;
        if only.is_some() {
            break;
        }
    }
    println!("{rounds} rounds, {objects} objects read, {failures} failures in {:?}", begin.elapsed());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(seed: u64, text: &str, problem: &str) -> usize {
    let path = std::env::temp_dir().join(format!("chancery-fuzz-{seed}.yaml"));
    let kept = std::fs::write(&path, text).is_ok();
    println!("seed {seed}: {problem} (input in {}, {kept})", path.display());
    1
}

/// How many objects were read, or what is wrong with what became of them.
fn round(text: &str) -> Result<usize, String> {
    let parsed = kinds::parse_text("fuzz.yaml", text).into_iter();
    let objects: Vec<_> = parsed
        .filter_map(|parsed| match parsed {
            Parsed::Object(object, _) => Some(Arc::from(object)),
            _ => None,
        })
        .collect();
    let mut at_once = Translator::new(Options::default());
    let _ = at_once.apply(objects.iter().cloned().map(Change::Put));
    let mut one_by_one = Translator::new(Options::default());
    for object in objects.iter().rev().chain(&objects) {
        let _ = one_by_one.apply([Change::Put(object.clone())]);
    }
    let (all, steps) = (at_once.resources(), one_by_one.resources());
    if all != steps {
        return Err("taken in one by one, the objects make something else".to_owned());
    }
    for resource in all.values().flatten() {
        if let Some(error) = xds_api::validate(resource).first() {
            return Err(format!("{}: {error}", resource.name));
        }
    }
    let _ = kinds::report::to_text(&at_once.diagnostics(), false);
    Ok(objects.len())
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap_or_default()
    }
}

fn inputs(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push(text);
            }
        }
    }
    found
}

/// What people and tools do to YAML, and what nobody does.
const SCRAPS: &[&str] = &[
    "\n",
    "---\n",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "!!binary ",
    "|\n",
    "\t",
    "null",
    "~",
    "-1",
    "65536",
    "0",
    "1e400",
    "9223372036854775808",
    "true",
    "\u{feff}",
    "\u{0}",
    "é",
    "%",
    "\\",
    "*",
    "*.example.com",
    "a..b",
    "../../x",
    "(",
    ".*",
    "10.0.0.0/33",
    "::1",
    "1h1h",
    "99999h",
    "0s",
    "kind: Gateway\n",
    "namespace: other\n",
    "spec: []\n",
    "name: \"\"\n",
];

fn damaged(inputs: &[String], random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(3) {
        if !text.is_empty() {
            text.push_str("\n---\n");
        }
        text.push_str(inputs.get(random.below(inputs.len())).map_or("", String::as_str));
    }
    for _ in 0..random.below(12) {
        let mut lines: Vec<&str> = text.lines().collect();
        let line = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(6) {
            0 if !lines.is_empty() => drop(lines.remove(line)),
            1 if !lines.is_empty() => lines.swap(line, other),
            2 if !lines.is_empty() => lines.insert(line, lines[other]),
            3 => {
                let at = boundary(&text, random.below(text.len() + 1));
                text.insert_str(at, SCRAPS[random.below(SCRAPS.len())]);
                continue;
            }
            4 => {
                let from = boundary(&text, random.below(text.len() + 1));
                let to = boundary(&text, (from + random.below(20)).min(text.len()));
                text.replace_range(from..to, "");
                continue;
            }
            // A value in the place of another.
            _ => {
                let from = lines.get(other).and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned());
                let to = lines.get(line).and_then(|line| line.split_once(": ")).map(|(key, _)| key.to_owned());
                let (Some(value), Some(key)) = (from, to) else { continue };
                let changed = format!("{key}: {value}");
                lines[line] = &changed;
                text = lines.join("\n");
                continue;
            }
        }
        text = lines.join("\n");
    }
    text
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
