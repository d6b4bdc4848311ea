//! One API server for all tests; for each test a namespace and a class of its own, which nobody else looks at.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use testkit::{Chancery, Envoy, HttpClient, KubeApi, Reply, eventually};

/// What tests need; more kinds cost the server seconds.
const DEFINITIONS: [&str; 8] = [
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "referencegrants.gateway.networking.k8s.io",
    "backends.gateway.envoyproxy.io",
    "httproutefilters.gateway.envoyproxy.io",
    "securitypolicies.gateway.envoyproxy.io",
    "backendtrafficpolicies.gateway.envoyproxy.io",
];

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The definition of a kind, as it is published.
pub(crate) fn definition(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/schemas").join(format!("{name}.yaml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The shared server outlives the runtime of each test, so it lives in one of its own.
static SHARED: LazyLock<Option<&'static KubeApi>> = LazyLock::new(|| {
    let start = || {
        let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().unwrap()));
        runtime.block_on(start_server(&[])).map(|server| &*Box::leak(Box::new(server)))
    };
    std::thread::spawn(start).join().unwrap()
});

/// A server with the definitions and with further flags; none where it was not built.
pub(crate) async fn start_server(flags: &[&str]) -> Option<KubeApi> {
    let server = KubeApi::start(flags).await.unwrap()?;
    let definitions: Vec<String> = DEFINITIONS.iter().map(|name| definition(name)).collect();
    server.apply_crds(&definitions.join("\n---\n")).await.unwrap();
    Some(server)
}

/// A namespace and a class of its own on a server.
pub(crate) struct World<'a> {
    pub server: &'a KubeApi,
    pub namespace: String,
}

impl World<'static> {
    /// On the shared server; none where there is none.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let server = tokio::task::spawn_blocking(|| *SHARED).await.unwrap()?;
        Some(World::on(server, name).await)
    }
}

impl<'a> World<'a> {
    pub(crate) async fn on(server: &'a KubeApi, name: &str) -> Self {
        let world = World { server, namespace: name.to_owned() };
        world
            .apply(&format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n\
                 apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {name}}}\n\
                 spec: {{controllerName: {name}.test/controller}}\n"
            ))
            .await;
        world
    }

    pub(crate) fn controller(&self) -> String {
        format!("{}.test/controller", self.namespace)
    }

    /// Applies objects; `NAMESPACE` stands for the test's own.
    pub(crate) async fn apply(&self, objects: &str) {
        self.server.apply(&objects.replace("NAMESPACE", &self.namespace)).await.unwrap();
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", kind, name]).await;
    }

    pub(crate) async fn kubectl(&self, args: &[&str]) -> String {
        let all: Vec<&str> = ["-n", &self.namespace].into_iter().chain(args.iter().copied()).collect();
        self.server.kubectl(&all).await.unwrap()
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"]).await).unwrap()
    }

    /// Waits until an object's status says something.
    pub(crate) async fn status(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let ask = || async { Some(self.get(kind, name).await["status"].take()).filter(|status| holds(status)) };
        eventually(&format!("{kind} {name}: {what}"), LONG, ask).await
    }

    /// In the test's own namespace, unless the arguments name others.
    pub(crate) async fn chancery(&self, arguments: &[&str]) -> Chancery {
        let mut all = arguments.to_vec();
        if !arguments.contains(&"--watch-namespace") {
            all.extend(["--watch-namespace", self.namespace.as_str()]);
        }
        self.launch(&self.server.kubeconfig(), &all).await
    }

    pub(crate) async fn chancery_everywhere(&self, kubeconfig: &Path) -> Chancery {
        self.launch(kubeconfig, &[]).await
    }

    async fn launch(&self, kubeconfig: &Path, arguments: &[&str]) -> Chancery {
        let controller = self.controller();
        let mut all = vec!["--controller-name", &controller, "--lease-namespace", &self.namespace];
        all.extend(arguments);
        Chancery::in_cluster(env!("CARGO_BIN_EXE_chancery"), kubeconfig, &all).await.unwrap()
    }

    pub(crate) async fn envoy(&self, control: &Chancery, gateway: &str) -> Envoy {
        let gateway = format!("{}/{gateway}", self.namespace);
        Envoy::start(&control.bootstrap(&gateway, &[]).await.unwrap()).await.unwrap()
    }
}

/// A Gateway `web` on a port, a Backend `app` and a route `app` for `app.test`.
pub(crate) fn shop(port: u16, backend: u16) -> String {
    format!("{}---\n{}---\n{}", gateway(port), backend_at(backend), route("app"))
}

pub(crate) fn gateway(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: NAMESPACE}}\n\
         spec: {{gatewayClassName: NAMESPACE, listeners: [{{name: http, protocol: HTTP, port: {port}}}]}}\n"
    )
}

/// A Backend and not a Service: endpoints of Services may not be loopback addresses.
pub(crate) fn backend_at(port: u16) -> String {
    format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: app, namespace: NAMESPACE}}\n\
         spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {port}}}}}]}}\n"
    )
}

/// A route for `NAME.test`.
pub(crate) fn route(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: NAMESPACE}}\n\
         spec:\n  parentRefs: [{{name: web}}]\n  hostnames: [{name}.test]\n  \
         rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: app}}]}}]\n"
    )
}

/// Waits until a host is answered with a status.
pub(crate) async fn answers(port: u16, host: &str, status: u16) -> Reply {
    let client = HttpClient::new(port).host(host);
    let ask = || async { client.get("/").await.ok().filter(|reply| reply.status == status) };
    eventually(&format!("{host} answers {status}"), LONG, ask).await
}

/// The status of a condition, of an object that has conditions.
pub(crate) fn condition<'a>(holder: &'a Value, kind: &str) -> &'a str {
    let conditions = holder["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("absent")
}
