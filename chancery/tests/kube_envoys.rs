//! Managed Envoys against a real API server: what is made for a Gateway, who may read its configuration, and how it goes.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::{Envoy, HttpClient, KubeApi, eventually, free_port};
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(60);

const DEFINITIONS: [&str; 5] = ["gatewayclasses", "gateways", "httproutes", "envoyproxies", "referencegrants"];

/// Only what the test needs: every definition costs the server.
fn definitions() -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_chancery")).arg("crds").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted = |text: &&str| DEFINITIONS.iter().any(|plural| text.contains(&format!("\n    plural: {plural}\n")));
    text.split("---\n").filter(wanted).collect::<Vec<_>>().join("---\n")
}

/// What the chart grants, to the user as whom the control plane runs here, whose own namespace is `default`.
fn rights() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests/chancery.yaml");
    let text = std::fs::read_to_string(path).unwrap().replace("chancery-system", "default");
    let grants = text.split("\n---\n").filter_map(|document| {
        let mut object: Value = serde_saphyr::from_str(document).ok()?;
        let kind = object["kind"].as_str()?.to_owned();
        if object.get("subjects").is_some() {
            let user =
                serde_json::json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "restricted"});
            object["subjects"] = Value::Array(vec![user]);
        }
        kind.contains("Role").then_some(object)
    });
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": grants.collect::<Vec<_>>()}).to_string()
}

struct Control {
    child: Child,
    _state: tempfile::TempDir,
}

impl Control {
    async fn start(kubeconfig: &Path, xds: u16, options: &[&str]) -> Self {
        let admin = free_port();
        let state = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(["serve", "--kubernetes", "--run-envoys", "--envoy-xds", &format!("localhost:{xds}")])
            .args(["--ratelimit-service", "limits.example:8081"])
            .args(["--xds", &format!("127.0.0.1:{xds}"), "--admin", &format!("127.0.0.1:{admin}")])
            .args(options)
            .arg("--state-dir")
            .arg(state.path())
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = || async { HttpClient::new(admin).get("/readyz").await.ok().filter(|reply| reply.status == 200) };
        eventually("the control plane is ready", SOON, ready).await;
        Self { child, _state: state }
    }

    /// Ends it, and starts another in its place: every Envoy has to connect anew.
    async fn replaced(mut self, kubeconfig: &Path, xds: u16, options: &[&str]) -> Self {
        self.child.kill().await.unwrap();
        Self::start(kubeconfig, xds, options).await
    }
}

async fn json(api: &KubeApi, args: &[&str]) -> Option<Value> {
    let text = api.kubectl(&[args, &["-o", "json"]].concat()).await.ok()?;
    serde_json::from_str(&text).ok()
}

/// The bootstrap that a pod would find, with its files in a directory of the test's.
async fn bootstrap(api: &KubeApi, name: &str, directory: &Path) -> String {
    let config = json(api, &["-n", "shop", "get", "configmap", name]).await.unwrap();
    let home = directory.to_str().unwrap();
    let here = |text: &str| text.replace("/etc/envoy-identity", home).replace("/etc/envoy", home);
    mount(&json(api, &["-n", "shop", "get", "secret", name]).await.unwrap(), directory);
    for (file, text) in config["data"].as_object().unwrap() {
        std::fs::write(directory.join(file), here(text.as_str().unwrap())).unwrap();
    }
    let text = std::fs::read_to_string(directory.join("bootstrap.yaml")).unwrap();
    // Pods have addresses of their own; here the fixed ports would be in the way of other tests.
    text.replace("19000", "{admin}").replace("19001", &free_port().to_string())
}

/// Puts what a Secret holds into a directory, as a kubelet does where a pod mounts it.
fn mount(secret: &Value, directory: &Path) {
    for (file, text) in secret["data"].as_object().unwrap() {
        let (beside, path) = (directory.join(format!(".{file}")), directory.join(file));
        let content = base64(text.as_str().unwrap());
        if std::fs::read(&path).ok().as_ref() != Some(&content) {
            std::fs::write(&beside, content).unwrap();
            std::fs::rename(beside, path).unwrap();
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn manifests(port: u16) -> String {
    format!(
        r"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: chancery}}
spec: {{controllerName: chancery.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: shop}}
spec:
  gatewayClassName: chancery
  infrastructure: {{labels: {{team: a}}, annotations: {{note: b}}}}
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: shop}}
spec:
  parentRefs: [{{name: web}}]
  rules:
  - filters:
    - type: RequestRedirect
      requestRedirect: {{hostname: elsewhere.example}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_gets_envoys_of_its_own() {
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    api.apply_crds(&definitions()).await.unwrap();
    api.kubectl(&["create", "namespace", "shop"]).await.unwrap();
    // With the rights of the chart and no others.
    api.apply(&rights()).await.unwrap();
    let _control = Control::start(&api.restricted().unwrap(), free_port(), &[]).await;
    let port = free_port();
    api.apply(&manifests(port)).await.unwrap();

    // Everything is there, says whose it is, and carries what the Gateway asks for.
    for kind in ["serviceaccount", "configmap", "secret", "deployment", "service"] {
        let made = || async { json(&api, &["-n", "shop", "get", kind, "web-chancery"]).await };
        let object = eventually(kind, SOON, made).await;
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["gateway.networking.k8s.io/gateway-name"], "web", "{kind}");
        assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["note"]), (&"a".into(), &"b".into()));
        assert_eq!(metadata["ownerReferences"][0]["name"], "web");
    }

    // A stock rate limit service is let in by a certificate of its own.
    let limits = || async { json(&api, &["get", "secret", "chancery-ratelimit"]).await };
    let limits = eventually("the identity of the rate limit service", SOON, limits).await;
    assert!(limits["data"]["tls.key"].is_string());

    // A stock Envoy with that bootstrap and identity serves the Gateway, by mutual TLS.
    let directory = tempfile::tempdir().unwrap();
    let text = bootstrap(&api, "web-chancery", directory.path()).await;
    let envoy = Envoy::launch(&text).unwrap();
    let answers = || async { HttpClient::new(port).get("/").await.ok().filter(|reply| reply.status == 302) };
    eventually("the Gateway answers", SOON, answers).await;
    assert!(envoy.stat("control_plane.connected_state").await == 1);

    // The identity opens no other Gateway's configuration.
    let other = text.replace("shop/web", "shop/other");
    assert_ne!(other, text);
    let stranger = Envoy::launch(&other).unwrap();
    // A stream that is refused is tried again and again, and brings nothing.
    let refused = || async { (stranger.stat("cluster.chancery.upstream_rq_total").await > 2).then_some(()) };
    eventually("the other Gateway is refused", SOON, refused).await;
    assert_eq!(stranger.stat("listener_manager.lds.update_success").await, 0);
    drop(stranger);

    // What somebody deletes comes back; what somebody changes is put right.
    let uid =
        json(&api, &["-n", "shop", "get", "deployment", "web-chancery"]).await.unwrap()["metadata"]["uid"].clone();
    api.kubectl(&["-n", "shop", "delete", "deployment", "web-chancery"]).await.unwrap();
    let again = || async {
        let object = json(&api, &["-n", "shop", "get", "deployment", "web-chancery"]).await?;
        (object["metadata"]["uid"] != uid).then_some(())
    };
    eventually("the Deployment is there again", SOON, again).await;
    api.kubectl(&["-n", "shop", "scale", "deployment", "web-chancery", "--replicas=7"]).await.unwrap();
    let right = || async {
        let object = json(&api, &["-n", "shop", "get", "deployment", "web-chancery"]).await?;
        (object["spec"]["replicas"] == 1).then_some(())
    };
    eventually("the Deployment is as it was", SOON, right).await;

    // Another one's from now on: what we made goes.
    api.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: other}\n\
         spec: {controllerName: example.com/other}\n",
    )
    .await
    .unwrap();
    api.kubectl(&[
        "-n",
        "shop",
        "patch",
        "gateway",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec":{"gatewayClassName":"other"}}"#,
    ])
    .await
    .unwrap();
    for kind in ["deployment", "service", "secret", "configmap", "serviceaccount"] {
        let gone = || async { json(&api, &["-n", "shop", "get", kind, "web-chancery"]).await.is_none().then_some(()) };
        eventually(&format!("the {kind} is gone"), SOON, gone).await;
    }
}

/// The authorities that a Gateway's Envoys are to trust, oldest first.
async fn trusted(api: &KubeApi) -> Vec<String> {
    let Some(secret) = json(api, &["-n", "shop", "get", "secret", "web-chancery"]).await else { return Vec::new() };
    let text = String::from_utf8(base64(secret["data"]["ca.crt"].as_str().unwrap())).unwrap();
    text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
}

/// With certificates of seconds in the place of months: the authority is replaced under an Envoy that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_renewed_by_itself() {
    const LIFETIMES: [&str; 4] = ["--envoy-certificates-last", "12s", "--envoy-authority-lasts", "48s"];
    let Some(api) = KubeApi::start(&[]).await.unwrap() else { return };
    api.apply_crds(&definitions()).await.unwrap();
    api.kubectl(&["create", "namespace", "shop"]).await.unwrap();
    api.apply(&rights()).await.unwrap();
    let (kubeconfig, xds, port) = (api.restricted().unwrap(), free_port(), free_port());
    let control = Control::start(&kubeconfig, xds, &LIFETIMES).await;
    api.apply(&manifests(port)).await.unwrap();
    let first = eventually("an authority", SOON, || async { Some(trusted(&api).await).filter(|all| all.len() == 1) });
    let first = first.await.remove(0);
    // What it mounts comes before it.
    let made = || async { json(&api, &["-n", "shop", "get", "deployment", "web-chancery"]).await };
    eventually("the Deployment", SOON, made).await;

    let directory = tempfile::tempdir().unwrap();
    let text = bootstrap(&api, "web-chancery", directory.path()).await;
    let envoy = Envoy::launch(&text).unwrap();
    let answers = |status: u16| async move {
        let ask = || async move { HttpClient::new(port).get("/").await.ok().filter(|reply| reply.status == status) };
        eventually(&format!("the Gateway answers {status}"), SOON, ask).await;
    };
    answers(302).await;
    // Without a pod there is nobody else to carry the Secret to where Envoy finds it.
    let carried = async {
        loop {
            if let Some(secret) = json(&api, &["-n", "shop", "get", "secret", "web-chancery"]).await {
                mount(&secret, directory.path());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let renewed = async {
        // The successor is trusted beside it.
        let both = || async { Some(trusted(&api).await).filter(|all| all.len() == 2 && all[0] == first) };
        let second = eventually("both authorities are trusted", SOON * 2, both).await.remove(1);
        let control = control.replaced(&kubeconfig, xds, &LIFETIMES).await;
        api.apply(&manifests(port).replace("hostname: elsewhere.example", "statusCode: 301")).await.unwrap();
        answers(301).await;
        // And then the old one is gone.
        let alone = || async { Some(trusted(&api).await).filter(|all| !all.contains(&first)) };
        let left = eventually("the old authority is gone", SOON * 2, alone).await;
        assert_eq!(left.first(), Some(&second));
        let _control = control.replaced(&kubeconfig, xds, &LIFETIMES).await;
        api.apply(&manifests(port)).await.unwrap();
        answers(302).await;
    };
    tokio::select! {
        () = carried => {}
        () = renewed => {}
    }
    assert!(envoy.stat("control_plane.connected_state").await == 1);
}
