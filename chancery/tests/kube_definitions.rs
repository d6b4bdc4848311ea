//! What a real API server says of the compatible definitions: published guides apply as they are written.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use testkit::KubeApi;

const GUIDES: [&str; 5] = ["aibrix", "kserve-basic", "kserve-token-limit", "kubelb-kgateway", "semantic-router"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crds(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chancery")).arg("crds").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a guide, each as a document; shell wrappers and what is no object are left out.
fn objects(guide: &str) -> Vec<(Value, String)> {
    let path = root().join(format!("testdata/ai/{guide}/input.yaml"));
    let text: Arc<str> = std::fs::read_to_string(path).unwrap().into();
    let documents = kinds::document::split(&Arc::from("input.yaml"), &text);
    let parsed = documents.iter().filter_map(|document| {
        let value: Value = serde_saphyr::from_str(document.text()).ok()?;
        (value["apiVersion"].is_string() && value["kind"].is_string()).then(|| (value, document.text().to_owned()))
    });
    parsed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn published_guides_apply_as_they_are_written() {
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    let guides: Vec<Vec<(Value, String)>> = GUIDES.iter().map(|guide| objects(guide)).collect();
    let all = || guides.iter().flatten();
    // Only what the guides use: every definition costs the server.
    let used: BTreeSet<String> = all().map(|(value, _)| value["kind"].as_str().unwrap().to_owned()).collect();
    let definitions: Vec<String> = crds(&[])
        .split("---\n")
        .filter(|text| used.iter().any(|kind| text.contains(&format!("\n    kind: {kind}\n"))))
        .map(str::to_owned)
        .collect();
    api.apply_crds(&definitions.join("---\n")).await.unwrap();
    let namespaces: BTreeSet<&str> = all().filter_map(|(value, _)| value["metadata"]["namespace"].as_str()).collect();
    for namespace in namespaces.into_iter().filter(|namespace| *namespace != "default") {
        api.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    let mut count = 0;
    for (value, text) in all() {
        let said = api.apply(text).await;
        assert!(said.is_ok(), "{} {}: {said:?}", value["kind"], value["metadata"]["name"]);
        count += 1;
        if value["kind"] == "AIServiceBackend" && value["spec"]["timeouts"].is_object() {
            let name = value["metadata"]["name"].as_str().unwrap();
            let path = "jsonpath={.spec.timeouts.request}";
            let kept = api.kubectl(&["get", "aiservicebackends", name, "-o", path]).await.unwrap();
            assert_eq!(kept, "60s");
        }
    }
    assert!(count > 35, "{count} objects");
    // Fields of older releases are kept, not dropped.
    let parents = api
        .kubectl(&["get", "aigatewayroutes", "envoy-ai-gateway", "-o", "jsonpath={.spec.targetRefs[0].name}"])
        .await
        .unwrap();
    assert_eq!(parents, "envoy-ai-gateway-basic");
}

#[test]
fn the_files_are_what_the_binary_prints() {
    let made = tempfile::tempdir().unwrap();
    crds(&["--ours", "--output", made.path().to_str().unwrap()]);
    let kept = root().join("deploy/crds");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        crds(&["--ours", "--output", kept.to_str().unwrap()]);
    }
    let names = |directory: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".yaml")).collect()
    };
    assert_eq!(names(made.path()), names(&kept), "UPDATE_GOLDEN=1 writes them anew");
    for name in names(made.path()) {
        let read = |directory: &Path| std::fs::read_to_string(directory.join(&name)).unwrap();
        assert_eq!(read(made.path()), read(&kept), "{name}: UPDATE_GOLDEN=1 writes it anew");
    }
}

#[test]
fn sets_and_groups() {
    let official = crds(&["--official"]);
    assert!(official.contains("self.kind == 'Backend' && has(self.group)"));
    assert!(!official.contains("inferenceservices"));
    let without = crds(&["--except", "serving.kserve.io"]);
    assert!(!without.contains("inferenceservices") && without.contains("aigatewayroutes"));
    assert!(!crds(&["--only", "gateway.networking.k8s.io"]).contains("aigateway"));
}
