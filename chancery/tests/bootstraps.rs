//! The bootstraps under `deploy/` are what the binary prints, and a stock Envoy takes them.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::{Authority, Chancery, Echo, Envoy, HttpClient, eventually, free_port};

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

#[tokio::test(flavor = "multi_thread")]
async fn xds_over_mutual_tls_with_what_the_flags_say() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("test").unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = write("ca.crt", &authority.certificate);
    let server = authority.issue(&["chancery.test"]).unwrap();
    let (server_cert, server_key) = (write("server.crt", &server.certificate), write("server.key", &server.key));
    let envoy = authority.issue(&["edge.test"]).unwrap();
    let (envoy_cert, envoy_key) = (write("envoy.crt", &envoy.certificate), write("envoy.key", &envoy.key));
    let one = Echo::start("one").await.unwrap();
    let port = free_port();
    let manifests =
        include_str!("bootstraps.yaml").replace("PORT", &port.to_string()).replace("UPSTREAM", &one.port.to_string());
    let security = ["--xds-tls-cert", &server_cert, "--xds-tls-key", &server_key, "--xds-client-ca", &ca];
    let options = [&security[..], &["--xds-allow", "edge.test=default/web"]].concat();
    let binary = env!("CARGO_BIN_EXE_chancery");
    let control = Chancery::start_with(binary, &[("all.yaml", &manifests)], &options).await.unwrap();

    let trust = ["--xds-ca", &ca, "--xds-server-name", "chancery.test"];
    let identity = ["--xds-envoy-cert", &envoy_cert, "--xds-envoy-key", &envoy_key];
    for protocol in ["delta", "sotw"] {
        let options = [&trust[..], &identity, &["--protocol", protocol]].concat();
        let bootstrap = control.bootstrap("default/web", &options).await.unwrap();
        let _envoy = Envoy::start(&bootstrap).await.unwrap();
        let served = || async { HttpClient::new(port).get("/").await.ok().filter(|reply| reply.status == 200) };
        eventually("a route that came over TLS is served", Duration::from_secs(20), served).await;
    }
    // Without a certificate, or for another name, there is nothing.
    let another = ["--xds-ca", &ca, "--xds-server-name", "other.test"];
    for refused in [trust.to_vec(), [&another[..], &identity].concat()] {
        let bootstrap = control.bootstrap("default/web", &refused).await.unwrap();
        let envoy = Envoy::launch(&bootstrap).unwrap();
        let tried = || async { (envoy.stat("cluster.chancery.upstream_cx_total").await > 0).then_some(()) };
        eventually("Envoy has tried", Duration::from_secs(20), tried).await;
        let failed = || async {
            let errors = ["ssl.connection_error", "ssl.fail_verify_san", "upstream_cx_destroy_remote"];
            let mut count = 0;
            for error in errors {
                count += envoy.stat(&format!("cluster.chancery.{error}")).await;
            }
            (count > 0).then_some(())
        };
        eventually("it is refused", Duration::from_secs(20), failed).await;
        assert!(HttpClient::new(port).get("/").await.is_err());
    }
}

#[test]
fn run_wants_both_ends_of_tls() {
    let output = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["run", "--gateway", "default/web", "--xds-ca", "/nowhere", "/nowhere"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("go together"));
}
