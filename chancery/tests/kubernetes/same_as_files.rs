//! One and the same configuration gives the same bytes, whether it comes from files or from an API server.

use std::path::Path;
use std::process::Output;

use crate::world::World;

fn translate(arguments: &[&str], kubeconfig: &Path) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_chancery"))
        .arg("translate")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap()
}

/// What was written under a directory, by path.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(at) = pending.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_golden_case_gives_the_same_bytes_from_both_sources() {
    let Some(world) = World::new("same").await else { return };
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let directory = tempfile::tempdir().unwrap();
    for case in ["http/precedence-across-routes", "http/request-headers", "http/redirect-prefix"] {
        let manifests = directory.path().join(case);
        std::fs::create_dir_all(&manifests).unwrap();
        let mut kinds = Vec::new();
        for entry in std::fs::read_dir(cases.join(case)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            // In the namespace and of the class of this test; addresses that an API server takes.
            let text = text
                .lines()
                .map(|line| line.replace("namespace: default", "namespace: same"))
                .map(|line| line.replace("gatewayClassName: chancery", "gatewayClassName: same"))
                .collect::<Vec<_>>()
                .join("\n");
            kinds.push(text);
        }
        let all = kinds.join("\n---\n");
        world.server.kubectl_with(&["-n", "same", "apply", "-f", "-"], &all).await.unwrap();
        let listed = world.kubectl(&["get", "gateways,httproutes,services,endpointslices", "-o", "yaml"]).await;
        std::fs::write(manifests.join("all.yaml"), listed).unwrap();

        let (from_files, from_server) = (directory.path().join("files"), directory.path().join("server"));
        let controller = world.controller();
        translate(&[manifests.to_str().unwrap(), "-o", from_files.to_str().unwrap()], &world.server.kubeconfig());
        let arguments = ["--kubernetes", "--controller-name", &controller, "--watch-namespace", "same", "-o"];
        let all: Vec<&str> = arguments.into_iter().chain(from_server.to_str()).collect();
        let output = translate(&all, &world.server.kubeconfig());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let (expected, found) = (files(&from_files), files(&from_server));
        assert!(!expected.is_empty(), "{case}");
        assert_eq!(expected, found, "{case}: {words}");
        world.kubectl(&["delete", "gateways,httproutes,services,endpointslices", "--all"]).await;
    }
}
