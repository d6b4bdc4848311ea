//! Every guard on every way that a request can take: who is refused is refused everywhere, and who is let in gets through.
//!
//! | way | how the request comes to its route |
//! |---|---|
//! | plain | by host and path |
//! | late | by the model in its body, after it was read |
//! | upgraded | and then speaks another protocol |
//! | mirrored | and a copy of it goes elsewhere |
//! | redirected | Envoy itself follows an answer of the backend to a guarded route |
//!
//! Nothing that users write makes Envoy follow redirects itself: no field asks for it, so the last way is opened with an
//! EnvoyPatchPolicy, and takes two patches. CORS is no guard: it tells browsers, and refuses nobody.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::model_gateway::{self, rule};
use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authorizer;
use crate::world::{GATEWAY_API, JWKS, POLICIES, TOKEN, gateway, object, route, service, text};

type Headers = &'static [(&'static str, &'static str)];

struct Guard {
    name: &'static str,
    /// The spec of a SecurityPolicy.
    spec: Value,
    /// What lets a request in; none where nothing does.
    good: Option<Headers>,
    /// What does not.
    bad: &'static [Headers],
    refusal: u16,
    /// It judges requests that change something, and lets others pass.
    writes: bool,
}

impl Guard {
    fn new(name: &'static str, spec: Value, good: Headers, bad: &'static [Headers], refusal: u16) -> Self {
        Self { name, spec, good: Some(good), bad, refusal, writes: false }
    }
}

const BEARER: &str = "Bearer eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiayJ9.eyJpc3MiOiAidGVzdHMiLCAiYXVkIjogIm1vZGVscyIsICJleHAiOiA0MTAyNDQ0ODAwLCAic3ViIjogIm1hbGxvcnkiLCAidGVuYW50IjogInJlZCJ9.hOR_nXvRwZkah2Xc-khnWmJoLvwV3canIi9SPP7jhd8";

fn guards(keys: u16) -> Vec<Guard> {
    let jwt = |source: Value| {
        let mut provider = json!({"name": "p", "issuer": "tests", "extractFrom": {"headers": [{"name": "x-token"}]}});
        provider.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"jwt": {"providers": [provider]}})
    };
    let local = jwt(json!({"localJWKS": {"type": "Inline", "inline": JWKS}}));
    let remote = jwt(json!({"remoteJWKS": {"uri": format!("http://127.0.0.1:{keys}/keys")}}));
    let rules = |rule: Value| json!({"authorization": {"defaultAction": "Deny", "rules": [rule]}});
    let by_header = json!({"action": "Allow", "principal": {"headers": [{"name": "x-role", "values": ["admin"]}]}});
    let mut by_claim = local.clone();
    by_claim["authorization"] = rules(json!({"action": "Allow", "principal": {"jwt": {"provider": "p",
        "claims": [{"name": "tenant", "values": ["blue"]}]}}}))["authorization"]
        .take();
    let login = json!({"oidc": {
        "provider": {"issuer": "http://login.test", "authorizationEndpoint": "http://login.test/auth",
            "tokenEndpoint": format!("http://127.0.0.1:{keys}/token")},
        "clientID": "app", "clientSecret": {"name": "oidc"}, "passThroughAuthHeader": true}});
    let keys = json!({"apiKeyAuth": {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-key"]}]}});
    let lost =
        json!({"apiKeyAuth": {"credentialRefs": [{"name": "nowhere"}], "extractFrom": [{"headers": ["x-key"]}]}});
    let over_http = json!({"extAuth": {"headersToExtAuth": ["x-echo-status"],
        "http": {"backendRefs": [{"name": "asked", "port": 80}]}}});
    let token: Headers = &[("x-token", TOKEN)];
    let nobodys: &[Headers] = &[&[], &[("x-token", "no.such.token")], &[("x-token", BEARER)]];
    vec![
        Guard::new("keys", keys, &[("x-key", "one")], &[&[], &[("x-key", "wrong")]], 401),
        Guard::new(
            "passwords",
            json!({"basicAuth": {"users": {"name": "users"}}}),
            &[("authorization", "Basic YWxpY2U6cGFzc3dvcmQ=")],
            &[&[], &[("authorization", "Basic YWxpY2U6d3Jvbmc=")]],
            401,
        ),
        Guard::new("tokens", local, token, nobodys, 401),
        Guard::new("fetched", remote, token, nobodys, 401),
        Guard { good: None, ..Guard::new("claims", by_claim, &[], &[&[("x-token", TOKEN)]], 403) },
        Guard::new("headers", rules(by_header), &[("x-role", "admin")], &[&[], &[("x-role", "guest")]], 403),
        Guard::new(
            "expressions",
            rules(json!({"action": "Allow", "cel": "request.headers['x-role'] == 'admin'"})),
            &[("x-role", "admin")],
            &[&[], &[("x-role", "guest")]],
            403,
        ),
        Guard {
            good: None,
            ..Guard::new(
                "addresses",
                rules(json!({"action": "Allow", "principal": {"clientCIDRs": ["10.0.0.0/8"]}})),
                &[],
                &[&[], &[("x-forwarded-for", "10.0.0.1")]],
                403,
            )
        },
        Guard::new(
            "asked-over-grpc",
            json!({"extAuth": {"grpc": {"backendRefs": [{"name": "authorizer", "port": 80}]}}}),
            &[("x-who", "alice")],
            &[&[], &[("x-who", "mallory")]],
            403,
        ),
        Guard { good: None, ..Guard::new("asked-over-http", over_http, &[], &[&[("x-echo-status", "403")]], 403) },
        Guard::new("login", login, &[("authorization", "Bearer mine")], &[&[]], 302),
        Guard {
            writes: true,
            ..Guard::new(
                "other-sites",
                json!({"csrf": {"additionalOrigins": ["https://good.test"]}}),
                &[("origin", "https://good.test")],
                &[&[("origin", "https://bad.test")]],
                403,
            )
        },
        // Its Secret is not there: it must not be open for that.
        Guard { good: None, ..Guard::new("unmade", lost, &[], &[&[], &[("x-key", "one")]], 500) },
    ]
}

struct World {
    port: u16,
    _control: Chancery,
    _envoy: Envoy,
    copies: Echo,
    served: Echo,
    _others: Vec<Echo>,
}

const SECRETS: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: default}
stringData: {alice: one}
---
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: default}
stringData: {.htpasswd: 'alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g='}
---
apiVersion: v1
kind: Secret
metadata: {name: oidc, namespace: default}
stringData: {client-secret: very-secret}
";

/// A host with three paths: two guarded, of which one is mirrored, and an open one.
fn host(guard: &Guard) -> Value {
    let at = |path: &str, more: Value| {
        let mut rule = json!({
            "name": path, "matches": [{"path": {"type": "PathPrefix", "value": format!("/{path}")}}],
            "backendRefs": [{"name": "app", "port": 80}],
        });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let mirror = json!({"filters": [{"type": "RequestMirror", "requestMirror":
        {"backendRef": {"name": "copies", "port": 80}}}]});
    let mut route = route(guard.name, &json!({}));
    route["spec"]["rules"] = json!([at("guarded", json!({})), at("mirrored", mirror), at("open", json!({}))]);
    route
}

fn policy(guard: &Guard) -> Value {
    let rule = |name: &str| json!({"group": GATEWAY_API, "kind": "HTTPRoute", "name": guard.name, "sectionName": name});
    let model = json!({"group": GATEWAY_API, "kind": "HTTPRoute", "name": format!("ai-{}", guard.name)});
    let mut spec = guard.spec.clone();
    spec["targetRefs"] = json!([rule("guarded"), rule("mirrored"), model]);
    object(POLICIES, "SecurityPolicy", guard.name, &spec)
}

/// Lets Envoy follow the answers of the open paths: the policy alone does not, for what it follows is looked up in the
/// table of the request, and whose table that is stands in a header that was taken off on the way to the backend.
async fn follow_redirects(control: &Chancery) -> Value {
    let snapshot = control.page("/snapshot?gateway=default/web").await.unwrap();
    let mut patches = Vec::new();
    for table in snapshot["default/web"].as_array().unwrap() {
        let patches_before = patches.len();
        for (h, host) in table["content"]["virtual_hosts"].as_array().into_iter().flatten().enumerate() {
            for (r, route) in host["routes"].as_array().into_iter().flatten().enumerate() {
                if route["match"]["path_separated_prefix"] == "/open" {
                    patches.push(json!({
                        "type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": table["name"],
                        "operation": {"op": "add", "value": {"max_internal_redirects": 1, "redirect_response_codes": [302]},
                            "path": format!("/virtual_hosts/{h}/routes/{r}/route/internal_redirect_policy")},
                    }));
                }
            }
        }
        if patches.len() > patches_before {
            patches.push(json!({
                "type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": table["name"],
                "operation": {"op": "remove", "path": "/request_headers_to_remove"},
            }));
        }
    }
    assert!(!patches.is_empty(), "there are open routes");
    let target = json!({"group": GATEWAY_API, "kind": "Gateway", "name": "web"});
    object(
        POLICIES,
        "EnvoyPatchPolicy",
        "follow",
        &json!({"targetRef": target, "type": "JSONPatch", "jsonPatches": patches}),
    )
}

impl World {
    async fn start(protocol: &str) -> (Self, Vec<Guard>) {
        let (app, copies) = (Echo::start("app").await.unwrap(), Echo::start("copies").await.unwrap());
        let (keys, asked) = (Echo::telling(JWKS).await.unwrap(), Echo::start("asked").await.unwrap());
        let guards = guards(keys.port);
        let port = free_port();
        let mut all = vec![gateway(port)];
        all.extend(service("app", app.port, None));
        all.extend(service("copies", copies.port, None));
        all.extend(service("asked", asked.port, None));
        all.extend(service("authorizer", authorizer::start().await, Some("kubernetes.io/h2c")));
        let mut models = String::from(SECRETS) + &model_gateway::backend("app", app.port, "{name: OpenAI}", "");
        for guard in &guards {
            all.extend([host(guard), policy(guard)]);
            let of_model = model_gateway::route(&rule(guard.name, "[{name: app}]"));
            let named = of_model.replace("name: models", &format!("name: ai-{}", guard.name));
            models.push_str(&named.replace("name: ai, kind: Gateway", "name: web, kind: Gateway"));
        }
        let all = text(&all) + "\n" + &models;
        let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &[("all.yaml", &all)]).await.unwrap();
        control.write("follow.yaml", &follow_redirects(&control).await.to_string()).unwrap();
        let followed = || async {
            let found = control.page("/snapshot").await.ok()?.to_string();
            (found.matches("max_internal_redirects").count() == guards.len()).then_some(())
        };
        eventually("redirects are followed", Duration::from_secs(10), followed).await;
        let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
        let envoy = Envoy::start(&bootstrap).await.unwrap();
        let world = Self { port, _control: control, _envoy: envoy, copies, served: app, _others: vec![keys, asked] };
        (world, guards)
    }

    fn client(&self, guard: &Guard, headers: Headers) -> HttpClient {
        let client = HttpClient::new(self.port).host(&format!("{}.test", guard.name));
        headers.iter().fold(client, |client, (name, value)| client.header(name, value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Late,
    Upgraded,
    Mirrored,
    Redirected,
}

const WAYS: [Way; 5] = [Way::Plain, Way::Late, Way::Upgraded, Way::Mirrored, Way::Redirected];

impl Way {
    /// Upgrades and followed redirects only read.
    fn concerns(self, guard: &Guard) -> bool {
        !(guard.writes && matches!(self, Self::Upgraded | Self::Redirected))
    }

    /// The status with which a request ends; 101 when the other protocol works.
    async fn go(self, world: &World, guard: &Guard, headers: Headers) -> anyhow::Result<u16> {
        let client = world.client(guard, headers);
        // A host that has routes of its own has no models.
        let any_host =
            headers.iter().fold(HttpClient::new(world.port), |client, (name, value)| client.header(name, value));
        let method = if guard.writes { "POST" } else { "GET" };
        let reply = match self {
            Self::Plain => client.send(method.parse()?, "/guarded", "").await?,
            Self::Mirrored => client.send(method.parse()?, "/mirrored", "").await?,
            Self::Late => {
                let body = json!({"model": guard.name, "messages": []});
                any_host.post_json("/v1/chat/completions", &body).await?
            }
            Self::Redirected => {
                let there = format!("http://{}.test/guarded", guard.name);
                client.header("x-echo-location", &there).get("/open").await?
            }
            Self::Upgraded => match client.upgrade("/guarded", "websocket").await? {
                Err(refused) => refused,
                Ok(mut connection) => {
                    connection.write_all(b"hello").await?;
                    let mut answer = [0; 5];
                    connection.read_exact(&mut answer).await?;
                    anyhow::ensure!(&answer == b"hello", "{answer:?}");
                    return Ok(101);
                }
            },
        };
        Ok(reply.status.as_u16())
    }
}

async fn every_guard_on_every_way(protocol: &str) {
    let (world, guards) = World::start(protocol).await;
    let mut failures = Vec::new();
    for guard in &guards {
        // The last way to be ready: its table is fetched by the first request for it.
        eventually(&format!("{} is served", guard.name), Duration::from_secs(20), || async {
            let bad = guard.bad.first()?;
            (Way::Plain.go(&world, guard, bad).await.ok()? == guard.refusal).then_some(())
        })
        .await;
        for way in WAYS.into_iter().filter(|way| way.concerns(guard)) {
            let (copies, served) = (world.copies.served(), world.served.served());
            // A route that only answers switches to no other protocol: Envoy says so before the answer.
            let refusal = if way == Way::Upgraded && guard.refusal == 500 { 403 } else { guard.refusal };
            for bad in guard.bad {
                let found = way.go(&world, guard, bad).await;
                if !found.as_ref().is_ok_and(|status| *status == refusal) {
                    failures.push(format!("{} {way:?} {bad:?}: {found:?}, not {refusal}", guard.name));
                }
            }
            if let Some(good) = guard.good {
                let found = way.go(&world, guard, good).await;
                let wanted = if way == Way::Upgraded { 101 } else { 200 };
                if !found.as_ref().is_ok_and(|status| *status == wanted) {
                    failures.push(format!("{} {way:?} {good:?}: {found:?}, not {wanted}", guard.name));
                }
            }
            // The open route's answers are the backend's, before the redirect that is refused.
            let by_redirect =
                if way == Way::Redirected { guard.bad.len() as u64 + u64::from(guard.good.is_some()) } else { 0 };
            let through = served + by_redirect + u64::from(guard.good.is_some());
            if world.served.served() != through {
                failures.push(format!(
                    "{} {way:?}: {} reached the backend, not {through}",
                    guard.name,
                    world.served.served()
                ));
            }
            let copied = copies + u64::from(way == Way::Mirrored && guard.good.is_some());
            let sent = || async { (world.copies.served() >= copied).then_some(()) };
            eventually("the copy is sent", Duration::from_secs(5), sent).await;
            if world.copies.served() != copied {
                failures.push(format!("{} {way:?}: {} copies", guard.name, world.copies.served() - copies));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guard_holds_on_every_way_over_delta() {
    every_guard_on_every_way("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guard_holds_on_every_way_over_sotw() {
    every_guard_on_every_way("sotw").await;
}
