//! Keys that callers bring for a provider, in the place of the one that is configured.

use serde_json::{Value, json};
use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, key, route, rule};
use testkit::{Echo, HttpClient, ModelGateway, Reply, free_port};

use crate::header;

fn overridden(manifest: &str, how: &str) -> String {
    manifest.replace("  type: ", &format!("  credentialOverride: {{fromRequestHeaders: {{{how}}}}}\n  type: "))
}

async fn ask(client: HttpClient, model: &str) -> Reply {
    client.post_json("/v1/chat/completions", &json!({"model": model})).await.unwrap()
}

fn all_keys(seen: &Value) -> Vec<(&str, &str)> {
    let names = ["authorization", "x-api-key", "api-key", "x-aigw-api-key", "x-aigw-azure-api-key", "x-mine"];
    names.into_iter().filter_map(|name| Some((name, header(seen, name)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_key_reaches_the_provider_that_takes_it_and_no_other() {
    for protocol in PROTOCOLS {
        let (first, second) = (Echo::start("first").await.unwrap(), Echo::start("second").await.unwrap());
        let port = free_port();
        let rules = rule("usual", "[{name: usual}]")
            + &rule("own", "[{name: own}]")
            + &rule("azure", "[{name: azure}]")
            + &rule("fixed", "[{name: fixed}]")
            + &rule("takeover", "[{name: broken}, {name: azure, priority: 1}]");
        let fails = "  headerMutation: {set: [{name: x-echo-status, value: '503'}]}";
        let stays = "  headerMutation: {remove: [x-echo-status]}";
        let manifests = gateway(port)
            + &["usual", "own", "fixed"].map(|name| backend(name, first.port, "{name: OpenAI}", "")).concat()
            + &backend("broken", first.port, "{name: OpenAI}", fails)
            + &backend("azure", second.port, "{name: AzureOpenAI, version: v1}", stays)
            + &overridden(&key("usual", "APIKey", "apiKey", "sk-usual"), "fallbackToConfigured: true")
            + &overridden(
                &key("own", "APIKey", "apiKey", "sk-own"),
                "header: Authorization, fallbackToConfigured: false",
            )
            + &overridden(&key("broken", "APIKey", "apiKey", "sk-broken"), "header: X-Mine")
            + &overridden(&key("azure", "AzureAPIKey", "azureAPIKey", "az-usual"), "fallbackToConfigured: true")
            + &key("fixed", "APIKey", "apiKey", "sk-fixed")
            + &route(&rules);
        let start = Start { bootstrap: protocol, ..Start::default() };
        let gateway = ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, &manifests, start).await.unwrap();
        gateway.ready("usual").await;
        let client = |headers: &[(&str, &str)]| {
            headers.iter().fold(HttpClient::new(port), |client, (name, value)| client.header(name, value))
        };
        let openai = ("x-aigw-api-key", "sk-mine");
        let azure = ("x-aigw-azure-api-key", "az-mine");
        for (model, brought, seen) in [
            ("usual", &[openai, azure][..], ("authorization", "Bearer sk-mine")),
            ("usual", &[azure], ("authorization", "Bearer sk-usual")),
            ("own", &[openai, ("authorization", "Bearer sk-mine")], ("authorization", "Bearer sk-mine")),
            ("own", &[("authorization", "sk-mine")], ("authorization", "Bearer sk-mine")),
            ("azure", &[openai, azure], ("api-key", "az-mine")),
            ("azure", &[openai, ("api-key", "mine")], ("api-key", "az-usual")),
            ("fixed", &[openai, ("authorization", "Bearer sk-mine")], ("authorization", "Bearer sk-fixed")),
            // The first provider fails; the second takes its own header, and sees nothing of the first one's.
            ("takeover", &[("x-mine", "sk-mine"), azure], ("api-key", "az-mine")),
            ("takeover", &[("x-mine", "sk-mine")], ("api-key", "az-usual")),
        ] {
            let reply = ask(client(brought), model).await;
            assert_eq!(reply.status, 200, "{model} {brought:?}: {}", reply.text());
            assert_eq!(all_keys(&reply.json()), [seen], "{model} {brought:?}");
        }
        let served = first.served();
        let refused = ask(client(&[openai]), "own").await;
        let message = refused.json()["error"]["message"].clone();
        assert_eq!((refused.status.as_u16(), message), (401, json!("missing upstream credential")));
        assert_eq!(first.served(), served);
    }
}
