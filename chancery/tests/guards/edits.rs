//! Any edit of any policy, under traffic and with streams open: no request fails, and no stream is cut.
//!
//! `edits.yaml` is the table of edits, done one after the other to the same objects. Four hosts have traffic: `app`, which
//! most policies are about and whose clients bring every credential there is; `login`, whose clients bring a token;
//! `tls`, whose backend speaks TLS; and `filtered`, whose route borrows a filter. After each edit a stream is opened, and
//! all of them are open until the end.
//!
//! A ClientTrafficPolicy and an EnvoyProxy are part of listeners: their edits replace these, and connections go on until
//! the drain time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Authority, Chancery, Echo, Envoy, HttpClient, eventually, free_port};

use crate::traffic::{LongStream, Traffic};
use crate::world::{JWKS, TOKEN, forward, gateway, object, policy, route, service, text};
use crate::{authorizer, world};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    edit: String,
    /// Policies about the route of the name that stands before their specs: kind, name, spec.
    #[serde(default)]
    put: BTreeMap<String, BTreeMap<String, Value>>,
    /// Other objects, as they stand.
    #[serde(default)]
    objects: Vec<Value>,
    /// Kinds and names.
    #[serde(default)]
    remove: Vec<String>,
    /// What `app` answers to whoever brings no credentials, from now on.
    #[serde(default)]
    anonymous: Option<u16>,
}

/// Whoever is asked with a credential of every sort.
fn known(client: &HttpClient) -> HttpClient {
    let client = client.clone().header("x-key", "one").header("x-token", TOKEN).header("x-who", "alice");
    // alice:password
    client.header("authorization", "Basic YWxpY2U6cGFzc3dvcmQ=")
}

struct World {
    port: u16,
    control: Chancery,
    envoy: Envoy,
    objects: BTreeMap<String, Value>,
    edits: Vec<Edit>,
    _servers: Vec<Echo>,
}

fn key_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

impl World {
    async fn start(protocol: &str) -> Self {
        let authority = Authority::new("it signs for the backend").unwrap();
        let other = Authority::new("another").unwrap();
        let leaf = authority.issue(&["tls.test", "other.test"]).unwrap();
        let app = Echo::start("app").await.unwrap();
        let tls = Echo::start_tls("tls", &leaf, None).await.unwrap();
        let keys = Echo::telling(JWKS).await.unwrap();
        let asked = authorizer::start().await;
        let port = free_port();
        let filtered = json!({
            "filters": [{"type": "ExtensionRef", "extensionRef":
                {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "filtered"}}],
            "backendRefs": [{"name": "app", "port": 80}],
        });
        let mut all = vec![
            gateway(port),
            route("app", &forward("app")),
            route("login", &forward("app")),
            route("tls", &forward("tls")),
            route("filtered", &filtered),
        ];
        all.extend(service("app", app.port, None));
        all.extend(service("tls", tls.port, None));
        all.extend(service("authorizer", asked, Some("kubernetes.io/h2c")));
        let certificates =
            json!({"AUTHORITY": authority.certificate, "OTHER": other.certificate, "KEYS": keys.port, "APP": app.port});
        let mut table = include_str!("edits.yaml").replace("TOKEN_KEYS", JWKS);
        for (name, value) in certificates.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), |text| text.replace('\n', "\\n"));
            table = table.replace(&format!("${name}"), &value);
        }
        let edits: Vec<Edit> = serde_saphyr::from_str(&table).unwrap();
        let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &text(&all))]).await.unwrap();
        let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
        let envoy = Envoy::start(&bootstrap).await.unwrap();
        Self { port, control, envoy, objects: BTreeMap::new(), edits, _servers: vec![app, tls, keys] }
    }

    fn client(&self, host: &str) -> HttpClient {
        HttpClient::new(self.port).host(&format!("{host}.test"))
    }

    /// Writes the objects as they are now, with a mark by which it is seen that Envoy has them.
    async fn write(&mut self, step: usize) {
        let mark = json!({"filters": [{"type": "ResponseHeaderModifier",
            "responseHeaderModifier": {"set": [{"name": "x-step", "value": step.to_string()}]}}],
            "backendRefs": [{"name": "app", "port": 80}]});
        let mark = route("mark", &mark);
        self.control.write("edited.yaml", &text(self.objects.values().chain([&mark]))).unwrap();
        let client = self.client("mark");
        eventually("the edit is served", Duration::from_secs(20), || async {
            let reply = client.get("/").await.ok()?;
            (reply.header("x-step")? == step.to_string()).then_some(())
        })
        .await;
    }

    async fn listeners_replaced(&self) -> u64 {
        let mut count = 0;
        for how in ["modified", "in_place_updated"] {
            count += self.envoy.stat(&format!("listener_manager.listener_{how}")).await;
        }
        count
    }

    fn take(&mut self, edit: &Edit) {
        for (kind, policies) in &edit.put {
            for (name, spec) in policies {
                let made = policy(kind, name, ("HTTPRoute", name), spec);
                self.objects.insert(key_of(&made), made);
            }
        }
        for object in &edit.objects {
            self.objects.insert(key_of(object), object.clone());
        }
        for name in &edit.remove {
            assert!(self.objects.remove(name).is_some(), "{name} is not there");
        }
    }
}

async fn edit_everything(protocol: &str) {
    let mut world = World::start(protocol).await;
    let edits = std::mem::take(&mut world.edits);
    let mut steps = edits.iter().enumerate();
    // The first makes what is to be there before there is traffic.
    let (_, first) = steps.next().unwrap();
    world.take(first);
    world.write(0).await;
    let hosts = [
        ("app", known(&world.client("app"))),
        ("app again", known(&world.client("app"))),
        ("login", world.client("login").header("authorization", &format!("Bearer {TOKEN}"))),
        ("tls", world.client("tls")),
        ("filtered", world.client("filtered")),
    ];
    let mut streams = Vec::new();
    for (host, client) in &hosts {
        let up = || async { client.get("/").await.ok().filter(|reply| reply.status == 200) };
        eventually(&format!("{host} is served"), Duration::from_secs(20), up).await;
        streams.push(LongStream::open(client, &first.edit).await);
    }
    let listeners = world.envoy.stat("listener_manager.lds.update_success").await;
    let mut traffic: Vec<_> = hosts.iter().map(|(host, client)| (*host, Traffic::start(client.clone()))).collect();
    let mut failures = Vec::new();
    let mut answered = 0;
    for (step, edit) in steps {
        world.take(edit);
        world.write(step).await;
        for (_, traffic) in &traffic {
            traffic.goes_on().await;
        }
        let anonymous = world.client("app").get("/").await.unwrap();
        if edit.anonymous.is_some_and(|wanted| anonymous.status != wanted) {
            failures.push(format!("{}: who brings nothing is answered {}", edit.edit, anonymous.status));
        }
        // What failed, failed because of this edit.
        let restarted = hosts.iter().map(|(host, client)| (*host, Traffic::start(client.clone()))).collect();
        for (host, traffic) in std::mem::replace(&mut traffic, restarted) {
            let (good, bad) = traffic.end().await;
            answered += good;
            failures.extend(bad.first().map(|first| format!("{}: {host}: {} failed: {first}", edit.edit, bad.len())));
        }
        if let Some((_, client)) = hosts.get(step % hosts.len()) {
            streams.push(LongStream::open(client, &edit.edit).await);
        }
    }
    let opened = streams.len();
    for stream in streams {
        failures.extend(stream.cut().await);
    }
    for stat in [
        "listener_manager.lds.update_rejected",
        "cluster_manager.cds.update_rejected",
        "listener_manager.listener_in_place_updated",
        "listener_manager.total_filter_chains_draining",
    ] {
        if world.envoy.stat(stat).await != 0 {
            failures.push(format!("{stat} is not 0"));
        }
    }
    if world.envoy.stat("listener_manager.lds.update_success").await != listeners {
        failures.push("an edit touched a listener".to_owned());
    }
    let held = world.control.page("/fleet").await.unwrap();
    for what in ["rejections", "held"] {
        if held[what].as_array().is_none_or(|all| !all.is_empty()) {
            failures.push(format!("{what}: {}", held[what]));
        }
    }
    assert!(failures.is_empty(), "{protocol}, {answered} requests, {opened} streams:\n{}", failures.join("\n"));
    assert!(answered > 100, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_edit_of_a_policy_costs_anything_over_delta() {
    edit_everything("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_edit_of_a_policy_costs_anything_over_sotw() {
    edit_everything("sotw").await;
}

/// Listeners are replaced: new connections see the edit, and what is open goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_listeners_lets_streams_go_on() {
    let mut world = World::start("delta").await;
    let client = world.client("app");
    let up = || async { client.get("/").await.ok().filter(|reply| reply.status == 200) };
    eventually("it is served", Duration::from_secs(20), up).await;
    let stream = LongStream::open(&client, "nothing").await;
    let traffic = Traffic::start(client.clone());
    let early = json!({"headers": {"earlyRequestHeaders": {"set": [{"name": "x-early", "value": "yes"}]}}});
    let edit = policy("ClientTrafficPolicy", "web", ("Gateway", "web"), &early);
    world.objects.insert(key_of(&edit), edit);
    world.write(1).await;
    eventually("new connections see it", Duration::from_secs(20), || async {
        let reply = client.get("/").await.ok()?;
        (reply.json()["headers"]["x-early"][0] == "yes").then_some(())
    })
    .await;
    let before = world.listeners_replaced().await;
    assert!(before > 0, "the listener was replaced");
    let log =
        json!([{"format": {"type": "Text", "text": "x"}, "sinks": [{"type": "File", "file": {"path": "/dev/null"}}]}]);
    let spec = json!({"telemetry": {"accessLog": {"settings": log}}});
    let proxy = object(world::POLICIES, "EnvoyProxy", "web", &spec);
    world.objects.insert(key_of(&proxy), proxy);
    let mut with_proxy = gateway(world.port);
    with_proxy["spec"]["infrastructure"] =
        json!({"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "web"}});
    let all = std::fs::read_to_string(world.control.directory().join("all.yaml")).unwrap();
    let all = all.replace(&gateway(world.port).to_string(), &with_proxy.to_string());
    world.control.write("all.yaml", &all).unwrap();
    world.write(2).await;
    let again = || async { (world.listeners_replaced().await > before).then_some(()) };
    eventually("the listener is replaced once more", Duration::from_secs(20), again).await;
    let (answered, failures) = traffic.end().await;
    assert!(failures.is_empty() && answered > 0, "{answered} answered: {failures:?}");
    assert_eq!(stream.cut().await, None);
}
