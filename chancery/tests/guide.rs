//! What the guide shows is true: its manifests are taken as they stand.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// The fenced blocks of one language in a Markdown text.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_manifests_of_the_guide_and_of_the_demo_are_free_of_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let free_of_errors = |path: &Path, name: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_chancery")).arg("check").arg(path).output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && report.contains("0 errors, 0 warnings"), "{name}: {report}");
    };
    for page in ["getting-started", "models", "backends"] {
        let guide = std::fs::read_to_string(root.join(format!("docs/guide/{page}.md"))).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let manifests = blocks(&guide, "yaml");
        assert!(manifests.len() >= 3, "{page} shows manifests");
        std::fs::write(directory.path().join("all.yaml"), manifests.join("---\n")).unwrap();
        free_of_errors(directory.path(), page);
    }
    free_of_errors(&root.join("deploy/demo"), "demo");
}

#[test]
fn every_command_of_the_readme_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let commands: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("| `chancery ")?.split([' ', '`']).next()).collect();
    assert!(commands.len() >= 5, "the README has a table of commands");
    for command in commands {
        let status = Command::new(env!("CARGO_BIN_EXE_chancery")).args([command, "--help"]).output().unwrap().status;
        assert!(status.success(), "chancery {command}");
    }
}
