//! A service that Envoy asks about each request, over gRPC.

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use xds_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use xds_api::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use xds_api::envoy::service::auth::v3::check_response::HttpResponse;
use xds_api::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use xds_api::google::rpc;

/// Lets in who says `x-who: alice`, and tells the backend what it was told beside the request.
struct Authorizer;

const PERMISSION_DENIED: i32 = 7;

#[tonic::async_trait]
impl Authorization for Authorizer {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let asked = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let code = if asked.headers.get("x-who").is_some_and(|who| who == "alice") { 0 } else { PERMISSION_DENIED };
        let mut told: Vec<_> = attributes.context_extensions.into_iter().collect();
        told.sort();
        let told = told.into_iter().map(|(key, value)| HeaderValueOption {
            header: Some(HeaderValue { key: format!("x-told-{key}"), value, ..HeaderValue::default() }),
            ..HeaderValueOption::default()
        });
        let answer = OkHttpResponse { headers: told.collect(), ..OkHttpResponse::default() };
        Ok(Response::new(CheckResponse {
            status: Some(rpc::Status { code, ..rpc::Status::default() }),
            http_response: (code == 0).then_some(HttpResponse::OkResponse(answer)),
            ..CheckResponse::default()
        }))
    }
}

/// Runs as long as the test; returns its port.
pub(crate) async fn start() -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tonic::transport::Server::builder().add_service(AuthorizationServer::new(Authorizer));
    tokio::spawn(async move {
        let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
    });
    port
}
