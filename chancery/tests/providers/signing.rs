//! Requests signed for AWS: by the keys of the backend, over the body that is sent.

use aws_lc_rs::{digest, hmac};
use serde_json::Value;
use testkit::model_gateway::{PROTOCOLS, Start, backend, gateway, key, route, rule};
use testkit::{Dns, Echo, ModelGateway, free_port};

use crate::header;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

const HOST: &str = "bedrock-runtime.eu-central-1.amazonaws.com";
const OTHER: &str = "us.amazon.nova";

const POLICY: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: aws, namespace: default}
stringData:
  credentials: |
    [default]
    aws_access_key_id = AKIDOTHER
    aws_secret_access_key = other
    [bedrock]
    aws_access_key_id = AKIDEXAMPLE
    aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
    aws_session_token = session-of-ours
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: BackendSecurityPolicy
metadata: {name: aws, namespace: default}
spec:
  targetRefs: [{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: aws}, {group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: named}]
  type: AWSCredentials
  awsCredentials:
    region: eu-central-1
    credentialsFile: {secretRef: {name: aws}, profile: bedrock}
";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn signed(key: impl AsRef<[u8]>, text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), text.as_bytes())
}

/// The signature that AWS would compute of the request as it arrived, beside the one it brings.
fn verify(seen: &Value) {
    let authorization = header(seen, "authorization").unwrap_or_else(|| panic!("not signed: {seen}"));
    let field = |name: &str| {
        let (_, rest) = authorization.split_once(name).unwrap_or_else(|| panic!("no {name} in {authorization}"));
        rest.split([',', ' ']).next().unwrap_or_default().to_owned()
    };
    let (credential, headers, signature) = (field("Credential="), field("SignedHeaders="), field("Signature="));
    let date = header(seen, "x-amz-date").unwrap_or_else(|| panic!("not dated: {seen}"));
    let scope = format!("{}/eu-central-1/bedrock/aws4_request", &date[..8]);
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 "), "{authorization}");
    assert_eq!(credential, format!("AKIDEXAMPLE/{scope}"));
    assert_eq!(header(seen, "x-amz-security-token"), Some("session-of-ours"));
    let body = sha256(seen["body"].as_str().unwrap());
    assert_eq!(header(seen, "x-amz-content-sha256"), Some(body.as_str()), "the hash is that of the body that was sent");
    let mut canonical = format!("POST\n{}\n\n", seen["path"].as_str().unwrap());
    for name in headers.split(';') {
        let value = if name == "host" { seen["host"].as_str() } else { header(seen, name) };
        canonical += &format!("{name}:{}\n", value.unwrap_or_else(|| panic!("{name} is signed and was not sent")));
    }
    canonical += &format!("\n{headers}\n{body}");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
    let chain = ["eu-central-1", "bedrock", "aws4_request"];
    let key = chain.iter().fold(signed(format!("AWS4{SECRET}"), &date[..8]), |key, part| signed(key, part));
    assert_eq!(signature, hex(signed(key, &text)), "{canonical}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_covers_the_body_that_is_sent() {
    for protocol in PROTOCOLS {
        let (aws, other) = (Echo::start("aws").await.unwrap(), Echo::start("other").await.unwrap());
        let (port, dns) = (free_port(), Dns::start().await.unwrap());
        let rules = rule("plain", "[{name: aws}]")
            + &rule("named", "[{name: named, modelNameOverride: us.amazon.nova}]")
            + &rule("changed", "[{name: aws, modelNameOverride: us.amazon.nova}]")
            + &rule("second", "[{name: other}, {name: aws, priority: 1, modelNameOverride: us.amazon.nova}]");
        let address = format!("ip: {{address: 127.0.0.1, port: {}}}", aws.port);
        let name = format!("fqdn: {{hostname: {HOST}, port: {}}}", aws.port);
        let named = backend("named", aws.port, "{name: OpenAI, prefix: openai/v1}", "").replace(&address, &name);
        let manifests = gateway(port)
            + &backend(
                "aws",
                aws.port,
                "{name: OpenAI, prefix: openai/v1}",
                "  headerMutation: {remove: [x-echo-status]}",
            )
            + &backend(
                "other",
                other.port,
                "{name: OpenAI}",
                "  headerMutation: {set: [{name: x-echo-status, value: '503'}]}",
            )
            + &key("other", "APIKey", "apiKey", "sk-other")
            + POLICY
            + &named
            + &route(&rules);
        let resolver = dns.resolver() + "static_resources:";
        let edits = [("static_resources:", resolver.as_str())];
        let start = Start { bootstrap: protocol, edits: &edits, ..Start::default() };
        let gateway = ModelGateway::start_as(env!("CARGO_BIN_EXE_chancery"), port, &manifests, start).await.unwrap();
        gateway.ready("plain").await;
        let models = [("plain", "plain"), ("changed", OTHER), ("second", OTHER), ("named", OTHER)];
        for (model, sent) in models {
            let client = gateway.client().header("authorization", "Bearer mine").header("x-amz-security-token", "mine");
            let body = format!("{{\"messages\":[],  \"model\":\"{model}\"}}");
            let seen = client.post("/v1/chat/completions", body).await.unwrap().json();
            assert_eq!(
                (seen["name"].as_str(), seen["path"].as_str()),
                (Some("aws"), Some("/openai/v1/chat/completions"))
            );
            assert_eq!(seen["body"], format!("{{\"messages\":[],  \"model\":\"{sent}\"}}"));
            if model == "named" {
                assert_eq!(seen["host"], HOST);
            }
            verify(&seen);
        }
        assert_eq!(other.served(), 1);
    }
}
