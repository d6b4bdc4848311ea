//! The bootstraps under `deploy/` are what the binary prints, and a stock Envoy takes them.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::Authority;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bootstrap").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).unwrap()
}

#[test]
fn the_plain_ones_are_what_the_binary_prints() {
    for protocol in ["delta", "sotw"] {
        let output = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(["bootstrap", "--gateway", "default/demo", "--xds", "chancery.example:18000"])
            .args(["--protocol", protocol])
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let name = format!("{protocol}.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(deployed(&name), &printed).unwrap();
        }
        assert_eq!(printed, read(&name), "{name}: UPDATE_GOLDEN=1 writes it anew");
        testkit::validate(&printed).unwrap();
    }
}

#[test]
fn the_one_with_mutual_tls_reads_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().to_str().unwrap();
    let authority = Authority::new("test").unwrap();
    let leaf = authority.issue(&["envoy"]).unwrap();
    std::fs::create_dir(directory.path().join("tls")).unwrap();
    for (name, text) in
        [("tls/tls.crt", &leaf.certificate), ("tls/tls.key", &leaf.key), ("tls/ca.crt", &authority.certificate)]
    {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    for name in ["identity.yaml", "authority.yaml"] {
        std::fs::write(directory.path().join(name), read(name).replace("/etc/envoy", home)).unwrap();
    }
    testkit::validate(&read("mtls.yaml").replace("/etc/envoy", home)).unwrap();
}
