//! KubeLB's gateway with a backend of kgateway.

use serde_json::{Value, json};
use testkit::model_gateway::PROTOCOLS;
use testkit::{Authority, Dns, Echo, free_port};

use crate::{CHAT, Surroundings, patched};

const MANIFESTS: &str = include_str!("../../../testdata/ai/kubelb-kgateway/input.yaml");
/// As `kubectl create secret generic openai-secret --from-literal="Authorization=Bearer ..."` makes it.
const SECRET: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: openai-secret, namespace: kubelb}
stringData: {Authorization: Bearer sk-of-ours}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_promises() {
    let authority = Authority::new("roots").unwrap();
    for protocol in PROTOCOLS {
        let openai = Echo::start_tls("openai", &authority.issue(&["api.openai.com"]).unwrap(), None).await.unwrap();
        let port = free_port();
        let manifests = MANIFESTS.replace("port: 8080\n", &format!("port: {port}\n"))
            + SECRET
            + &patched(("kubelb", "ai-gateway"), "kgateway/kubelb/openai", openai.port);
        let surroundings = Surroundings::new(Dns::start().await.unwrap(), &authority);
        let gateway = surroundings.start("kubelb/ai-gateway", port, &manifests, protocol).await;
        // The sample of the guide names no model; functions to call are the model's business.
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
        let body = json!({"messages": [{"role": "user", "content": "Whats your favorite poem"}], "tools": tools});
        let client = gateway.client().header("authorization", "Bearer mine");
        let reply = client.post_json("/openai", &body).await.unwrap();
        assert_eq!(reply.status, 200, "{} {}", reply.text(), gateway.envoy.log());
        let seen = reply.json();
        assert_eq!((&seen["path"], &seen["host"]), (&json!(CHAT), &json!("api.openai.com")));
        assert_eq!(seen["tls"]["sni"], "api.openai.com");
        assert_eq!(seen["headers"]["authorization"], json!(["Bearer sk-of-ours"]));
        let mut expected = body.clone();
        expected["model"] = json!("gpt-3.5-turbo");
        let sent: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
        assert_eq!(sent, expected);
        // Whatever model a client names, the backend's is used.
        let named = client.post_json("/openai/v1", &json!({"model": "gpt-4", "messages": []})).await.unwrap().json();
        let sent: Value = serde_json::from_str(named["body"].as_str().unwrap()).unwrap();
        assert_eq!(sent, json!({"model": "gpt-3.5-turbo", "messages": []}));
        assert_eq!(gateway.client().post_json("/other", &body).await.unwrap().status, 404);
        // A hundred an hour, the two before among them.
        let mut statuses = Vec::new();
        for _ in 0..99 {
            statuses.push(client.post_json("/openai", &body).await.unwrap());
        }
        let (last, good) = statuses.split_last().unwrap();
        assert!(good.iter().all(|reply| reply.status == 200));
        assert_eq!((last.status.as_u16(), last.header("x-envoy-ratelimited")), (429, Some("true")), "{}", last.text());
        assert_eq!(openai.served(), 100);
    }
}
