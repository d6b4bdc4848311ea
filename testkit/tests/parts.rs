//! The parts hold together without anything between them.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use testkit::{Authority, ClientTls, Echo, HttpClient, TcpEcho, UdpEcho, ask_tcp, ask_udp};

#[tokio::test]
async fn an_echo_describes_what_it_saw_over_both_protocols() {
    let echo = Echo::start("one").await.unwrap();
    let client = HttpClient::new(echo.port).host("app.example.com").header("x-echo-status", "418");
    for (client, version) in [(client.clone(), "HTTP/1.1"), (client.http2(), "HTTP/2.0")] {
        let reply = client.post("/path?query=1", "hello").await.unwrap();
        assert_eq!(reply.status, 418);
        let seen = reply.json();
        assert_eq!(seen["name"], "one");
        assert_eq!(seen["host"], "app.example.com");
        assert_eq!(seen["path"], "/path?query=1");
        assert_eq!(seen["body"], "hello");
        assert_eq!(seen["version"], version);
    }
    assert_eq!(echo.served(), 2);
}

#[tokio::test]
async fn tls_shows_the_name_asked_for_and_refuses_strangers() {
    let authority = Authority::new("tests").unwrap();
    let leaf = authority.issue(&["a.example.com", "127.0.0.1"]).unwrap();
    let echo = Echo::start_tls("secure", &leaf, None).await.unwrap();
    let trusting = ClientTls::new(&authority, "a.example.com");
    for client in [HttpClient::new(echo.port), HttpClient::new(echo.port).http2()] {
        let seen = client.tls(trusting.clone()).get("/").await.unwrap().json();
        assert_eq!(seen["tls"]["sni"], "a.example.com");
        assert_eq!(seen["tls"]["client"], false);
    }
    let other = Authority::new("others").unwrap();
    let distrusting = ClientTls::new(&other, "a.example.com");
    HttpClient::new(echo.port).tls(distrusting).get("/").await.unwrap_err();
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_checked() {
    let authority = Authority::new("tests").unwrap();
    let leaf = authority.issue(&["a.example.com"]).unwrap();
    let echo = Echo::start_tls("mutual", &leaf, Some(&authority)).await.unwrap();
    let nobody = ClientTls::new(&authority, "a.example.com");
    HttpClient::new(echo.port).tls(nobody.clone()).get("/").await.unwrap_err();
    let somebody = nobody.identity(&authority.issue(&["client"]).unwrap());
    let seen = HttpClient::new(echo.port).tls(somebody).get("/").await.unwrap().json();
    assert_eq!(seen["tls"]["client"], true);
}

#[tokio::test]
async fn sockets_send_back_what_they_get() {
    let tcp = TcpEcho::start("t").await.unwrap();
    assert_eq!(ask_tcp(tcp.port, "hello").await.unwrap(), "t:hello");
    let udp = UdpEcho::start("u").await.unwrap();
    assert_eq!(ask_udp(udp.port, "hello", Duration::from_secs(5)).await.unwrap(), "u:hello");
}
