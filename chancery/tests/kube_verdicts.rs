//! Without an API server, objects are judged by the schemas that travel with the binary. Here a real one judges the same
//! objects: those of all golden cases, and each of them damaged in some places.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kinds::{Kind, Parsed};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use testkit::KubeApi;

/// How often each object is damaged.
const DAMAGES: usize = 5;

/// What is decided elsewhere than in the definitions that both sides read.
const BUILT_IN: [&str; 2] = ["", "discovery.k8s.io"];

fn objects() -> Vec<Value> {
    let mut found = BTreeSet::new();
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text: Arc<str> = std::fs::read_to_string(path).unwrap().into();
                for document in kinds::document::split(&Arc::from("input.yaml"), &text) {
                    let Ok(mut value) = serde_saphyr::from_str::<Value>(document.text()) else { continue };
                    let Some(kind) = kind(&value) else { continue };
                    if !BUILT_IN.contains(&kind.group()) && value["metadata"]["name"].is_string() {
                        value["metadata"] = json!({"name": value["metadata"]["name"]});
                        value.as_object_mut().unwrap().remove("status");
                        found.insert(value.to_string());
                    }
                }
            }
        }
    }
    found.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn kind(object: &Value) -> Option<Kind> {
    let (group, _) = object["apiVersion"].as_str()?.split_once('/')?;
    Kind::lookup(group, object["kind"].as_str()?)
}

/// Ours: what is said of an object that is not admitted, and whether it is written in an older form.
fn judged_here(object: &Value) -> (Option<String>, bool) {
    match kinds::parse_text("object.yaml", &object.to_string()).into_iter().next() {
        Some(Parsed::Object(_, remarks)) => (None, remarks.iter().any(|remark| remark.code == "older-form")),
        Some(Parsed::Refused(_, found)) => {
            (Some(found.iter().map(|found| found.message.clone()).collect::<Vec<_>>().join("; ")), false)
        }
        other => panic!("{object}: {other:?}"),
    }
}

/// The server's, for what `kubectl apply` asks.
async fn judged_there(client: &kube::Client, object: &Value) -> Option<String> {
    let info = kind(object).unwrap().info();
    let version = object["apiVersion"].as_str().unwrap();
    let namespace = if info.namespaced { "namespaces/default/" } else { "" };
    let uri = format!("/apis/{version}/{namespace}{}?dryRun=All&fieldValidation=Strict", info.plural);
    let request = http::Request::post(uri).header("content-type", "application/json");
    client
        .request_text(request.body(object.to_string().into_bytes()).unwrap())
        .await
        .err()
        .map(|error| error.to_string())
}

/// Where the two differ by intent: what definitions leave open and means nothing is refused here all the same, and what
/// stands below a field of an older release is not looked at.
fn known(kind: Kind, here: Option<&str>, older_form: bool, there: Option<&str>) -> bool {
    // Its project publishes no definition; the one of ours lists nothing.
    let open = kind == Kind::RateLimitPolicy;
    let meaningless = ["unknown variant", "invalid value: integer"];
    match (here, there) {
        (Some(said), None) => open || meaningless.iter().any(|words| said.starts_with(words)),
        (None, Some(said)) => older_form && said.contains("unknown field"),
        _ => false,
    }
}

/// Numbers without a pattern that are the same every time.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// Damages one place of an object, as a hand does that is in a hurry.
fn damage(value: &mut Value, random: &mut Seeded) {
    let descend = random.below(4) > 0;
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len())).unwrap().clone();
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert("surplus".to_owned(), json!(1))),
                2 => {
                    let field = fields.remove(&name).unwrap();
                    fields.insert(format!("{name}s"), field);
                }
                _ => damage(fields.get_mut(&name).unwrap(), random),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(6) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => *items = vec![items[at].clone(); 70],
                _ if descend => damage(&mut items[at], random),
                _ => *value = json!({}),
            }
        }
        Value::String(text) => {
            *value = match random.below(7) {
                0 => json!(""),
                1 => json!(text.to_uppercase()),
                2 => json!(format!("{text}*")),
                3 => json!(format!("-{text}.")),
                4 => json!(text.repeat(80)),
                5 => json!(7),
                _ => json!([text]),
            }
        }
        Value::Number(_) => {
            *value =
                [json!(0), json!(-1), json!(70_000), json!(3_000_000_000_u64), json!(1.5), json!("5"), json!(true)]
                    [random.below(7)]
                .clone();
        }
        Value::Bool(is) => *value = [json!(!*is), json!("true"), json!(0)][random.below(3)].clone(),
        _ => *value = [json!(null), json!({}), json!("text")][random.below(3)].clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schemas_judge_as_the_server_does() {
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    let definitions = Command::new(env!("CARGO_BIN_EXE_chancery")).arg("crds").output().unwrap();
    api.apply_crds(&String::from_utf8(definitions.stdout).unwrap()).await.unwrap();
    let config = Kubeconfig::read_from(api.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();

    let mut random = Seeded(28);
    let mut all = Vec::new();
    for object in objects() {
        for _ in 0..DAMAGES {
            let mut damaged = object.clone();
            if damaged["spec"].is_object() {
                damage(&mut damaged["spec"], &mut random);
                all.push(damaged);
            }
        }
        all.push(object);
    }
    let (mut refused, mut differ) = (0, Vec::new());
    for object in &all {
        let (here, older_form) = judged_here(object);
        let there = judged_there(&client, object).await;
        refused += usize::from(there.is_some());
        let same = here.is_some() == there.is_some();
        if !same && !known(kind(object).unwrap(), here.as_deref(), older_form, there.as_deref()) {
            differ.push(format!("{object}\n  here: {here:?}\n  there: {there:?}"));
        }
    }
    println!("{} objects, {refused} of them refused", all.len());
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), all.len(), differ.join("\n"));
    assert!(all.len() > 1000 && refused > 300, "{} objects, {refused} refused", all.len());
}
