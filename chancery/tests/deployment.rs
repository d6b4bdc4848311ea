//! The chart, and the manifests that are rendered from it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kinds::Kind;
use serde_json::Value;
use testkit::KubeApi;

/// Each manifest, and the values that it is rendered with beside the defaults.
const RENDERED: [(&str, &[&str]); 2] = [("chancery", &[]), ("chancery-redis", &["rateLimit.redis.enabled=true"])];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn manifest(name: &str) -> String {
    std::fs::read_to_string(root().join(format!("deploy/manifests/{name}.yaml"))).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    documents.filter(|object| object.is_object()).collect()
}

/// Helm as `make manifests` builds it, or as it is installed.
fn helm(args: &[&str]) -> Option<String> {
    let built = root().join(".cache/helm");
    let output = Command::new(if built.exists() { built.as_os_str() } else { "helm".as_ref() })
        .args(args)
        .current_dir(root())
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn manifests_are_what_the_chart_renders() {
    for (name, values) in RENDERED {
        let mut args = vec![
            "template",
            "chancery",
            "deploy/helm/chancery",
            "--namespace",
            "chancery-system",
            "--kube-version",
            "1.36.0",
        ];
        values.iter().for_each(|value| args.extend(["--set", value]));
        let Some(text) = helm(&args) else {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: neither .cache/helm, which `make helm` builds, nor helm on the path"
            );
            return;
        };
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(root().join(format!("deploy/manifests/{name}.yaml")), &text).unwrap();
        }
        assert_eq!(text, manifest(name), "{name}: UPDATE_GOLDEN=1 renders it anew");
    }
    helm(&["lint", "--strict", "deploy/helm/chancery"]);
}

#[test]
fn every_kind_that_is_read_may_be_read() {
    let all = objects(&manifest("chancery"));
    let rules =
        all.iter().filter(|object| object["kind"] == "ClusterRole").flat_map(|role| role["rules"].as_array().unwrap());
    let list = |value: &Value| -> BTreeSet<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut readable = BTreeSet::new();
    for rule in rules.filter(|rule| list(&rule["verbs"]).contains("watch")) {
        for group in list(&rule["apiGroups"]) {
            readable.extend(list(&rule["resources"]).into_iter().map(|resource| (group.clone(), resource)));
        }
    }
    for info in Kind::TABLE {
        let wanted = (info.group.to_owned(), info.plural.to_owned());
        assert!(readable.contains(&wanted), "{} may not be read", info.name);
    }
}

#[test]
fn pods_run_without_rights_that_they_do_not_need() {
    for (name, _) in RENDERED {
        for object in objects(&manifest(name)).iter().filter(|object| object["kind"] == "Deployment") {
            let pod = &object["spec"]["template"]["spec"];
            let called = &object["metadata"]["name"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{called}");
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{called}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{called}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{called}");
                assert!(container["readinessProbe"].is_object(), "{called}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_them() {
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["crds", "--only", "gateway.networking.k8s.io"])
        .output()
        .unwrap();
    let definitions = String::from_utf8(output.stdout).unwrap();
    let classes = definitions.split("---\n").find(|text| text.contains("plural: gatewayclasses")).unwrap();
    api.apply_crds(classes).await.unwrap();
    api.kubectl(&["create", "namespace", "chancery-system"]).await.unwrap();
    for (name, _) in RENDERED {
        let said = api.kubectl_with(&["apply", "--dry-run=server", "-f", "-"], &manifest(name)).await;
        assert!(said.is_ok(), "{name}: {said:?}");
    }
}
