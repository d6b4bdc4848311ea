//! Kinds that are defined while we run, and objects that cannot be read.

use testkit::{Echo, HttpClient, eventually, free_port};

use crate::world::{LONG, World, answers, condition, definition, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_defined_later_is_taken_up() {
    let Some(world) = World::new("later").await else { return };
    let _control = world.chancery(&[]).await;
    world.apply(&shop(free_port(), 1)).await;
    world.status("gateway", "web", "accepted", |s| condition(s, "Accepted") == "True").await;

    world.server.apply_crds(&definition("grpcroutes.gateway.networking.k8s.io")).await.unwrap();
    world
        .apply(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: calls, namespace: NAMESPACE}\n\
             spec: {parentRefs: [{name: web}], hostnames: [calls.test], \
             rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: app}]}]}\n",
        )
        .await;
    world.status("grpcroute", "calls", "accepted", |s| condition(&s["parents"][0], "Accepted") == "True").await;
}

/// A definition that takes anything, as older releases of an operator may have.
const LAX: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
    metadata: {name: clienttrafficpolicies.gateway.envoyproxy.io}\nspec:\n  group: gateway.envoyproxy.io\n  scope: Namespaced\n  \
    names: {kind: ClientTrafficPolicy, listKind: ClientTrafficPolicyList, plural: clienttrafficpolicies, singular: clienttrafficpolicy}\n  \
    versions:\n  - name: v1alpha1\n    served: true\n    storage: true\n    subresources: {status: {}}\n    \
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_costs_only_itself() {
    let Some(world) = World::new("broken").await else { return };
    world.server.apply_crds(LAX).await.unwrap();
    let app = Echo::start("app").await.unwrap();
    let port = free_port();
    world
        .apply(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\n\
             metadata: {name: nonsense, namespace: NAMESPACE}\nspec: {targetRefs: 7, connection: [none]}\n",
        )
        .await;
    let control = world.chancery(&[]).await;
    world.apply(&shop(port, app.port)).await;
    let _envoy = world.envoy(&control, "web").await;
    answers(port, "app.test", 200).await;
    let findings = HttpClient::new(control.admin).get("/diagnostics").await.unwrap().text();
    assert!(findings.contains("ClientTrafficPolicy broken/nonsense"), "{findings}");
    let told = || async { Some(world.kubectl(&["get", "events"]).await).filter(|text| text.contains("nonsense")) };
    eventually("its author is told", LONG, told).await;
}
