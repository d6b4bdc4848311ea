//! What holds between the crates, and for every file.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate, and those of ours that it may build on. `chancery` alone sees everything.
const LAYERS: [(&str, &[&str]); 10] = [
    ("xds-api", &[]),
    ("kinds", &[]),
    ("translator", &["kinds", "xds-api"]),
    ("sources", &["kinds"]),
    ("xds-server", &["xds-api"]),
    ("ratelimit", &["xds-api"]),
    ("chancery", &["kinds", "ratelimit", "sources", "translator", "xds-api", "xds-server"]),
    ("inference-sim", &[]),
    ("testkit", &[]),
    ("script-check", &["testkit"]),
];

/// Crates from elsewhere that one of ours must do without: no I/O, no clock, no threads.
const WITHOUT: [(&str, &[&str]); 2] = [
    ("translator", &["tokio", "tonic", "hyper", "kube", "notify", "rand"]),
    ("kinds", &["tokio", "tonic", "hyper", "notify", "rand"]),
];

/// Longer source files hold more than one thing.
const MAX_LINES: usize = 600;
/// Those that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Direct dependencies of each crate, those of its tests apart.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name_of = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let built_on = all.filter(|dependency| dependency["kind"] != "dev").map(name_of).collect();
            (name_of(package), built_on)
        })
        .collect()
}

/// Every file that is written by hand: what is built, fetched or hidden is not.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') || (name == "target" && directory == root()) {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn each_crate_knows_only_those_below_it() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "a crate is missing in the table of layers, or is gone");
    for (name, allowed) in LAYERS {
        for dependency in dependencies[name].iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn pure_crates_stay_pure() {
    let dependencies = dependencies();
    for (name, unwanted) in WITHOUT {
        for dependency in unwanted {
            assert!(!dependencies[name].contains(*dependency), "{name} must do without {dependency}");
        }
    }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    for (name, _) in LAYERS {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}/Cargo.toml");
    }
}

#[test]
fn no_source_file_holds_more_than_one_thing() {
    for path in files(".rs").into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let name = relative(&path);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        let reason = LONG_FILES.iter().find(|(long, _)| *long == name);
        assert!(lines <= MAX_LINES || reason.is_some(), "{name} has {lines} lines: find the seam");
        assert!(lines > MAX_LINES || reason.is_none(), "{name} is no longer long: take it off the list");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for path in files(".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.trim().is_empty() || text.starts_with("//!"), "{} has no doc comment", relative(&path));
    }
}

/// Where packages and images come from is the business of whoever builds.
#[test]
fn no_file_names_a_registry() {
    let hosts = ["crates.", "pypi.", "ghcr.", "quay.", "docker.", "gcr.", "pythonhosted."];
    let endings = ["io", "org"];
    let names: Vec<String> =
        hosts.iter().flat_map(|host| endings.iter().map(move |ending| format!("{host}{ending}"))).collect();
    for path in [".rs", ".toml", ".md", ".sh", "Makefile"].into_iter().flat_map(files) {
        let text = std::fs::read_to_string(&path).unwrap();
        for name in &names {
            assert!(!text.contains(name.as_str()), "{} names {name}", relative(&path));
        }
    }
}
