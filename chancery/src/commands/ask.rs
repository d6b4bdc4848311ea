//! Pages of the admin port.

use std::net::SocketAddr;

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub(super) async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let request = Request::get(path).header("host", admin.to_string());
    send(admin, request.body(Full::default())?).await
}

pub(super) async fn post(admin: SocketAddr, path: &str, body: &Value) -> anyhow::Result<Value> {
    let request = Request::post(path).header("host", admin.to_string()).header("content-type", "application/json");
    send(admin, request.body(Full::new(Bytes::from(body.to_string())))?).await
}

async fn send(admin: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Value> {
    let socket = tokio::net::TcpStream::connect(admin)
        .await
        .with_context(|| format!("no control plane answers at {admin}: is `chancery serve` running?"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status.is_success(), "{}", String::from_utf8_lossy(&body).trim());
    Ok(serde_json::from_slice(&body)?)
}
