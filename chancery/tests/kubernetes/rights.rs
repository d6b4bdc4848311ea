//! Who may not read a Secret cannot have the gateway read it.

use serde_json::Value;
use testkit::{Authority, free_port};

use crate::world::{World, condition};

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
    assert_eq!(secrets(&control.page("/snapshot").await.unwrap()), 0);
}
