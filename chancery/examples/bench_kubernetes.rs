//! A cluster's worth of objects: from an edit to its being served, and the memory that it takes. Needs `make envoy kube-api`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, which fails where it panics")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use testkit::{Chancery, Echo, Envoy, HttpClient, KubeApi, eventually, free_port};

const NAMESPACE: &str = "bench";
const FEW_ROUTES: usize = 1_000;
const MANY_ROUTES: usize = 10_000;
const SLICES: usize = 500;
const ENDPOINTS_EACH: usize = 100;
const EDITS: usize = 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(server) = KubeApi::start(&[]).await? else { return Ok(()) };
    let definitions = ["gatewayclasses", "gateways", "httproutes", "referencegrants"]
        .map(|plural| format!("{plural}.gateway.networking.k8s.io"))
        .into_iter()
        .chain(["backends.gateway.envoyproxy.io".to_owned()]);
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/schemas");
    let texts: Vec<String> = definitions
        .map(|name| std::fs::read_to_string(schemas.join(format!("{name}.yaml"))))
        .collect::<Result<_, _>>()?;
    server.apply_crds(&texts.join("\n---\n")).await?;
    let kubeconfig = kube::config::Kubeconfig::read_from(server.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;

    let app = Echo::start("app").await?;
    let port = free_port();
    server.apply(&world(port, app.port)).await?;
    let begin = Instant::now();
    create(&client, "httproutes", (0..FEW_ROUTES).map(route)).await?;
    println!("{FEW_ROUTES} routes written in {:?}", begin.elapsed());

    let binary = binary()?;
    let begin = Instant::now();
    let control = start(&binary, &server).await?;
    println!("{FEW_ROUTES} routes: ready {:?} after the start", begin.elapsed());
    let envoy = Envoy::start(&control.bootstrap(&format!("{NAMESPACE}/web"), &[]).await?).await?;
    let api = api(&client, "httproutes");
    let host = HttpClient::new(port).host("route-500.test");
    let served = |mark: String| {
        let host = &host;
        async move {
            let ask =
                || async { host.get("/").await.ok().filter(|reply| reply.header("x-edit") == Some(mark.as_str())) };
            eventually("the edit is served", Duration::from_secs(60), ask).await;
        }
    };
    // All statuses are written first, so that only the edit is measured.
    settle(&client).await?;
    let mut took = Vec::new();
    for edit in 0..EDITS {
        let mark = format!("edit-{edit}");
        let begin = Instant::now();
        api.patch("route-500", &PatchParams::default(), &Patch::Merge(edited(&mark))).await?;
        served(mark).await;
        took.push(begin.elapsed());
    }
    took.sort();
    println!("edit to served with {FEW_ROUTES} routes: median {:?}, worst {:?}", took[EDITS / 2], took[EDITS - 1]);
    println!("memory with {FEW_ROUTES} routes: {} MB", memory(&control)?);
    drop((control, envoy));

    create(&client, "services", (0..SLICES).map(service)).await?;
    create(&client, "endpointslices", (0..SLICES).map(slice)).await?;
    create(&client, "httproutes", (FEW_ROUTES..MANY_ROUTES).map(route)).await?;
    let begin = Instant::now();
    let control = start(&binary, &server).await?;
    println!(
        "{MANY_ROUTES} routes, {} endpoints: ready {:?} after the start",
        SLICES * ENDPOINTS_EACH,
        begin.elapsed()
    );
    println!("memory then: {} MB", memory(&control)?);
    settle(&client).await?;
    println!("memory with every status written: {} MB", memory(&control)?);
    Ok(())
}

async fn start(binary: &Path, server: &KubeApi) -> anyhow::Result<Chancery> {
    let arguments = ["--watch-namespace", NAMESPACE, "--lease-namespace", NAMESPACE];
    Chancery::in_cluster(&binary.display().to_string(), &server.kubeconfig(), &arguments).await
}

/// The control plane that was built beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let directory = here.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(directory.join("chancery"))
}

/// Resident megabytes.
fn memory(control: &Chancery) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", control.pid().unwrap_or(0)))?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kilobytes.unwrap_or(0_u64) / 1024)
}

/// Waits until every route has a status.
async fn settle(client: &Client) -> anyhow::Result<()> {
    let api = api(client, "httproutes");
    let begin = Instant::now();
    loop {
        let routes = api.list(&kube::api::ListParams::default()).await?;
        let without = routes.items.iter().filter(|route| route.data["status"]["parents"][0].is_null()).count();
        if without == 0 {
            println!("every status written {:?} later", begin.elapsed());
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn api(client: &Client, plural: &str) -> Api<DynamicObject> {
    let (group, version, kind) = match plural {
        "httproutes" => ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        "endpointslices" => ("discovery.k8s.io", "v1", "EndpointSlice"),
        _ => ("", "v1", "Service"),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

async fn create(client: &Client, plural: &str, objects: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let api = api(client, plural);
    let api = &api;
    let writes = objects.map(|object| async move {
        let object: DynamicObject = serde_json::from_value(object)?;
        api.create(&PostParams::default(), &object).await?;
        anyhow::Ok(())
    });
    stream::iter(writes).buffer_unordered(8).try_collect::<Vec<()>>().await?;
    Ok(())
}

fn world(port: u16, backend: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: chancery}}\n\
         spec: {{controllerName: chancery.dev/gateway-controller}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: {NAMESPACE}}}\n\
         spec: {{gatewayClassName: chancery, listeners: [{{name: http, protocol: HTTP, port: {port}}}]}}\n---\n\
         apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: app, namespace: {NAMESPACE}}}\n\
         spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {backend}}}}}]}}\n"
    )
}

/// The first routes lead to the one backend that is there, the others to Services with many endpoints.
fn route(index: usize) -> Value {
    let backend = if index < FEW_ROUTES {
        json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "app"})
    } else {
        json!({"name": format!("service-{}", index % SLICES), "port": 80})
    };
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": format!("route-{index}")},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [format!("route-{index}.test")],
            "rules": [{"backendRefs": [backend]}],
        },
    })
}

fn edited(mark: &str) -> Value {
    let set = json!([{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-edit", "value": mark}]}}]);
    let backend = json!([{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "app"}]);
    json!({"spec": {"rules": [{"filters": set, "backendRefs": backend}]}})
}

fn service(index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("service-{index}")},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    })
}

fn slice(index: usize) -> Value {
    let address = |at: usize| format!("10.{}.{}.{}", index / 200 + 1, index % 200, at + 1);
    let endpoints: Vec<Value> =
        (0..ENDPOINTS_EACH).map(|at| json!({"addresses": [address(at)], "conditions": {"ready": true}})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("service-{index}"),
            "labels": {"kubernetes.io/service-name": format!("service-{index}")},
        },
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}
