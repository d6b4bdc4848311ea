//! Who may not read a Secret cannot have the gateway read it; and what the control plane itself may do.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Authority, eventually, free_port};

use crate::world::{LONG, World, condition, shop};

fn https(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: NAMESPACE}}\nspec:\n  \
         gatewayClassName: NAMESPACE\n  listeners:\n  - {{name: https, protocol: HTTPS, port: {port}, tls: \
         {{certificateRefs: [{{name: cert, namespace: rights-vault}}]}}}}\n"
    )
}

const GRANT: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\n\
    metadata: {name: open, namespace: rights-vault}\n\
    spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: rights}], to: [{group: '', kind: Secret}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_namespace_is_read_only_with_its_consent() {
    let Some(world) = World::new("rights").await else { return };
    let leaf = Authority::new("test").unwrap().issue(&["web.test"]).unwrap();
    let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let secret = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: rights-vault}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: rights-vault}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indent(&leaf.certificate),
        indent(&leaf.key)
    );
    world.apply(&secret).await;
    let control = world.chancery(&["--watch-namespace", "rights,rights-vault"]).await;
    world.apply(&https(free_port())).await;

    let resolved = |status: &Value, is: &str| condition(&status["listeners"][0], "ResolvedRefs") == is;
    let refused = world.status("gateway", "web", "the Secret is refused", |s| resolved(s, "False")).await;
    let conditions = refused["listeners"][0]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["reason"] == "RefNotPermitted"), "{refused}");
    let secrets = |snapshot: &Value| {
        let resources = snapshot["rights/web"].as_array().cloned().unwrap_or_default();
        resources.iter().filter(|resource| resource["type"].as_str().unwrap().ends_with(".Secret")).count()
    };
    assert_eq!(secrets(&control.page("/snapshot").await.unwrap()), 0);

    world.apply(GRANT).await;
    world.status("gateway", "web", "the Secret is read", |s| resolved(s, "True")).await;
    assert_eq!(secrets(&control.page("/snapshot").await.unwrap()), 1);

    world.server.kubectl(&["-n", "rights-vault", "delete", "referencegrant", "open"]).await.unwrap();
    world.status("gateway", "web", "the Secret is refused again", |s| resolved(s, "False")).await;
    // It goes a while after what used it, for requests that are under way.
    let gone = || async { (secrets(&control.page("/snapshot").await.ok()?) == 0).then_some(()) };
    eventually("the Secret goes", LONG, gone).await;
}

/// What the manifests grant, to the user `restricted`, with a namespace as the control plane's own.
fn granted(namespace: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests/chancery.yaml");
    let text = std::fs::read_to_string(path).unwrap().replace("chancery-system", namespace);
    let grants = text.split("\n---\n").filter_map(|document| {
        let mut object: Value = serde_saphyr::from_str(document).ok()?;
        if object.get("subjects").is_some() {
            object["subjects"] =
                json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "restricted"}]);
        }
        object["kind"].as_str()?.contains("Role").then_some(object)
    });
    json!({"apiVersion": "v1", "kind": "List", "items": grants.collect::<Vec<_>>()}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_manifests_grant_are_enough() {
    let Some(world) = World::new("granted").await else { return };
    world.server.apply(&granted("granted")).await.unwrap();
    let restricted = world.server.restricted().unwrap();
    // Everywhere, as it is deployed.
    let _control = world.chancery_everywhere(&restricted).await;
    world.apply(&shop(free_port(), 1)).await;
    world.status("gateway", "web", "programmed", |s| condition(s, "Programmed") == "True").await;
    world.status("httproute", "app", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
    world.delete("backends.gateway.envoyproxy.io", "app").await;
    let told =
        || async { Some(world.kubectl(&["get", "events"]).await).filter(|text| text.contains("BackendNotFound")) };
    eventually("an event is written", LONG, told).await;
}
