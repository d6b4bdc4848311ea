//! Clients that are to show a certificate: who comes in, and that nobody does while the authority is not there.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use testkit::{Authority, Chancery, ClientTls, Echo, Envoy, HttpClient, eventually, free_port};

const HOST: &str = "app.example.com";

fn manifests(https: u16, server: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: chancery
  listeners: [{{name: https, protocol: HTTPS, port: {https}, tls: {{certificateRefs: [{{name: cert}}]}}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: app}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: app, namespace: default}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {server}}}}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: known, namespace: default}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: web}}]
  tls: {{clientValidation: {{caCertificateRefs: [{{kind: ConfigMap, group: '', name: authority}}]}}}}
"
    )
}

fn block(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

async fn who_comes_in(protocol: &str) {
    let authority = Authority::new("clients").unwrap();
    let server = authority.issue(&[HOST]).unwrap();
    let known = authority.issue(&["known"]).unwrap();
    let stranger = Authority::new("others").unwrap().issue(&["stranger"]).unwrap();
    let echo = Echo::start("app").await.unwrap();
    let https = free_port();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: default}}\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        block(&server.certificate),
        block(&server.key)
    );
    let trusted = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: authority, namespace: default}}\ndata:\n  ca.crt: |\n{}",
        block(&authority.certificate)
    );
    let files = [
        ("all.yaml", manifests(https, echo.port)),
        ("cert.yaml", secret),
        ("authority.yaml", "# Nothing yet.\n".into()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let control = Chancery::start(env!("CARGO_BIN_EXE_chancery"), &files).await.unwrap();
    let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await.unwrap();
    let envoy = Envoy::start(&bootstrap).await.unwrap();

    let anybody = ClientTls::new(&authority, HOST);
    let status = async |tls: &ClientTls| {
        let reply = HttpClient::new(https).host(HOST).tls(tls.clone()).get("/").await;
        reply.map(|reply| reply.status).ok()
    };
    let everyone = [anybody.clone(), anybody.clone().identity(&known), anybody.clone().identity(&stranger)];
    let listening = || async { tokio::net::TcpStream::connect(("127.0.0.1", https)).await.ok() };
    drop(eventually("the listener is there", Duration::from_secs(20), listening).await);
    for tls in &everyone {
        assert_eq!(status(tls).await, None, "no authority says who may come in: {tls:?}");
    }

    control.write("authority.yaml", &trusted).unwrap();
    let comes_in = || async { status(&everyone[1]).await.filter(|status| *status == 200) };
    eventually("who is known comes in", Duration::from_secs(20), comes_in).await;
    assert_eq!(status(&everyone[0]).await, None, "no certificate");
    assert_eq!(status(&everyone[2]).await, None, "somebody else's certificate");
    drop(envoy);
}

#[tokio::test]
async fn who_comes_in_over_delta() {
    who_comes_in("delta").await;
}

#[tokio::test]
async fn who_comes_in_over_sotw() {
    who_comes_in("sotw").await;
}
