//! Every row of the provider table, against a server of its own with a certificate for the provider's name and no other.

use std::time::Duration;

use serde_json::json;
use tempfile::NamedTempFile;
use testkit::model_gateway::{PROTOCOLS, Start};
use testkit::{Authority, Dns, Echo, HttpClient, ModelGateway, Reply, eventually, free_port};

use crate::header;

const TABLE: &str = include_str!("../../../testdata/providers/table/input.yaml");
const CHAT: &str = "/v1/chat/completions";
/// Headers in which keys travel.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

struct Row {
    /// The name of its backend, and of the model that leads there.
    provider: &'static str,
    host: &'static str,
    /// What a client asks, and what the provider sees.
    asked: &'static str,
    seen: &'static str,
    /// The header of the key, and what stands before the key.
    key: (&'static str, &'static str),
}

const BEARER: (&str, &str) = ("authorization", "Bearer ");

/// A provider that speaks OpenAI's API below a prefix.
const fn openai(provider: &'static str, host: &'static str, seen: &'static str) -> Row {
    Row { provider, host, asked: CHAT, seen, key: BEARER }
}

const ROWS: [Row; 17] = [
    openai("openai", "api.openai.com", CHAT),
    Row {
        key: ("api-key", ""),
        ..openai(
            "azure-openai",
            "example.openai.azure.com",
            "/openai/deployments/azure-openai/chat/completions?api-version=2025-01-01-preview",
        )
    },
    Row {
        key: ("api-key", ""),
        ..openai("azure-openai-v1", "example.openai.azure.com", "/openai/v1/chat/completions")
    },
    openai("gemini", "generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
    openai("groq", "api.groq.com", "/openai/v1/chat/completions"),
    openai("grok", "api.x.ai", CHAT),
    openai("together-ai", "api.together.xyz", CHAT),
    openai("cohere-compatible", "api.cohere.ai", "/compatibility/v1/chat/completions"),
    openai("mistral", "api.mistral.ai", CHAT),
    openai("deepinfra", "api.deepinfra.com", "/v1/openai/chat/completions"),
    openai("deepseek", "api.deepseek.com", CHAT),
    openai("hunyuan", "api.hunyuan.cloud.tencent.com", CHAT),
    openai("tencent-knowledge-engine", "api.lkeap.cloud.tencent.com", CHAT),
    openai("tetrate-agent-router", "api.router.tetrate.ai", CHAT),
    openai("sambanova", "api.sambanova.ai", CHAT),
    // Their own APIs pass through.
    Row { asked: "/cohere/v2/rerank", ..openai("cohere", "api.cohere.com", "/v2/rerank") },
    Row {
        asked: "/anthropic/v1/messages",
        key: ("x-api-key", ""),
        ..openai("anthropic", "api.anthropic.com", "/v1/messages")
    },
];

/// Rows whose bodies would have to be translated, and what their status says.
const REFUSED: [(&str, &str); 3] =
    [("aws-bedrock", "AWSBedrock"), ("vertex-ai", "GCPVertexAI"), ("anthropic-on-vertex", "GCPAnthropic")];

/// The table with a provider's server at a port of this machine.
fn at(table: &str, provider: &str, host: &str, usual: u16, port: u16) -> String {
    let written = |port| {
        format!(
            "metadata: {{name: {provider}, namespace: default}}\nspec: {{endpoints: [{{fqdn: {{hostname: {host}, port: {port}}}}}]}}"
        )
    };
    assert!(table.contains(&written(usual)), "{provider}");
    table.replace(&written(usual), &written(port))
}

/// The table behind a gateway whose Envoy finds every name on this machine, and trusts one authority.
async fn start(table: &str, trusted: &Authority, bootstrap: &[&str]) -> (ModelGateway, (Dns, NamedTempFile)) {
    let dns = Dns::start().await.unwrap();
    let roots = NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &trusted.certificate).unwrap();
    let port = free_port();
    let manifests = table.replace("port: 8080}", &format!("port: {port}}}"));
    let resolver = dns.resolver() + "static_resources:";
    let start = Start {
        serve: &["--system-roots", roots.path().to_str().unwrap()],
        bootstrap,
        edits: &[("static_resources:", &resolver)],
        ..Start::default()
    };
    let gateway = ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, &manifests, start).await.unwrap();
    (gateway, (dns, roots))
}

/// A client whose own keys are nobody else's business.
fn client(gateway: &ModelGateway) -> HttpClient {
    KEYS.iter().fold(gateway.client().header("cookie", "mine"), |client, name| client.header(name, "mine"))
}

async fn ask(gateway: &ModelGateway, path: &str, model: &str) -> Reply {
    let body = json!({"model": model, "messages": []}).to_string();
    client(gateway).post(path, body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_asked_by_its_own_name_path_and_key() {
    let authority = Authority::new("roots").unwrap();
    for protocol in PROTOCOLS {
        let mut table = TABLE.to_owned();
        let mut servers = Vec::new();
        for row in &ROWS {
            let server = Echo::start_tls(row.provider, &authority.issue(&[row.host]).unwrap(), None).await.unwrap();
            table = at(&table, row.provider, row.host, 443, server.port);
            servers.push(server);
        }
        let own = Echo::start("self-hosted").await.unwrap();
        table = at(&table, "self-hosted", "vllm.example.com", 8000, own.port);
        let (gateway, _kept) = start(&table, &authority, protocol).await;
        gateway.ready("openai").await;
        for row in &ROWS {
            let provider = row.provider;
            let reply = ask(&gateway, row.asked, provider).await;
            assert_eq!(reply.status, 200, "{provider}: {} {}", reply.text(), gateway.envoy.log());
            let seen = reply.json();
            assert_eq!(seen["name"], provider);
            assert_eq!(seen["path"], row.seen, "{provider}");
            assert_eq!(seen["host"], row.host);
            assert_eq!(seen["tls"]["sni"], row.host);
            assert_eq!(seen["body"], json!({"model": provider, "messages": []}).to_string());
            for name in KEYS {
                let expected = (row.key.0 == name).then(|| format!("{}key-of-{provider}", row.key.1));
                assert_eq!(header(&seen, name), expected.as_deref(), "{provider}: {name}");
            }
            assert_eq!(header(&seen, "cookie"), None, "{provider}");
        }
        let seen = ask(&gateway, CHAT, "self-hosted").await.json();
        assert_eq!((seen["path"].as_str(), seen["host"].as_str()), (Some(CHAT), Some("vllm.example.com")));
        let statuses = gateway.control.page("/status").await.unwrap().to_string();
        for (provider, api) in REFUSED {
            let reply = ask(&gateway, CHAT, provider).await;
            assert_eq!(reply.status, 500, "{provider}");
            assert_eq!(reply.json()["error"]["type"], "server_error", "{provider}");
            assert!(statuses.contains(api), "{api}: {statuses}");
        }
    }
}

/// Whoever cannot prove the provider's name gets neither a key nor a request.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_with_another_certificate() {
    let (authority, other) = (Authority::new("roots").unwrap(), Authority::new("others").unwrap());
    let good = Echo::start_tls("openai", &authority.issue(&["api.openai.com"]).unwrap(), None).await.unwrap();
    let renamed =
        Echo::start_tls("groq", &authority.issue(&["api.groq.com.evil.example"]).unwrap(), None).await.unwrap();
    let unknown = Echo::start_tls("mistral", &other.issue(&["api.mistral.ai"]).unwrap(), None).await.unwrap();
    let plain = Echo::start("deepseek").await.unwrap();
    let mut table = at(TABLE, "openai", "api.openai.com", 443, good.port);
    table = at(&table, "groq", "api.groq.com", 443, renamed.port);
    table = at(&table, "mistral", "api.mistral.ai", 443, unknown.port);
    table = at(&table, "deepseek", "api.deepseek.com", 443, plain.port);
    let (gateway, _kept) = start(&table, &authority, &[]).await;
    gateway.ready("openai").await;
    for (provider, server) in [("groq", &renamed), ("mistral", &unknown), ("deepseek", &plain)] {
        let reply = ask(&gateway, CHAT, provider).await;
        assert_eq!(reply.status, 503, "{provider}: {}", reply.text());
        assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text());
        assert_eq!(server.served(), 0, "{provider}");
    }
    let failed = "cluster.ai/default/groq.ssl.fail_verify_san";
    eventually("the name was what was wrong", Duration::from_secs(5), || async {
        (gateway.envoy.stat(failed).await > 0).then_some(())
    })
    .await;
}
