//! An external processor that a stock Envoy speaks to: what it answers is a function of what it is asked.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
use xds_api::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use xds_api::envoy::service::ext_proc::v3::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use xds_api::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use xds_api::envoy::service::ext_proc::v3::processing_response::Response as Said;
use xds_api::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingRequest, ProcessingResponse,
    TrailersResponse, body_mutation::Mutation,
};

/// Runs, with connections of its own, until it is dropped: all of them end with it.
pub(crate) struct Processor {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Processor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Processor {
    pub(crate) fn start(
        address: SocketAddr,
        answer: impl Fn(Asked) -> ProcessingResponse + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = ExternalProcessorServer::new(Service(Arc::new(answer)));
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let _ = server.serve_with_incoming(incoming).await;
        });
        Self { runtime: Some(runtime) }
    }
}

/// Puts a model in the place of `MoM`, and says so in `x-selected-model`.
pub(crate) fn chooses(model: &'static str) -> impl Fn(Asked) -> ProcessingResponse {
    move |asked| {
        let (mut common, mut mode) = (CommonResponse::default(), None);
        match &asked {
            Asked::RequestBody(body) => {
                let text = String::from_utf8_lossy(&body.body).replace("MoM", model);
                let mut headers = set("x-selected-model", model);
                // The body has another length now.
                headers.remove_headers.push("content-length".to_owned());
                common.header_mutation = Some(headers);
                common.body_mutation = Some(BodyMutation { mutation: Some(Mutation::Body(text.into_bytes())) });
            }
            // Nobody waits for the end of a stream.
            Asked::ResponseHeaders(_) => {
                mode = Some(ProcessingMode {
                    response_body_mode: BodySendMode::Streamed as i32,
                    ..ProcessingMode::default()
                });
            }
            _ => {}
        }
        ProcessingResponse { mode_override: mode, ..answer(&asked, common) }
    }
}

/// The answer to a message, with what is to become of what it carries.
pub(crate) fn answer(asked: &Asked, common: CommonResponse) -> ProcessingResponse {
    let response = Some(common);
    let said = match asked {
        Asked::RequestHeaders(_) => Said::RequestHeaders(HeadersResponse { response }),
        Asked::RequestBody(_) => Said::RequestBody(BodyResponse { response }),
        Asked::ResponseHeaders(_) => Said::ResponseHeaders(HeadersResponse { response }),
        Asked::ResponseBody(_) => Said::ResponseBody(BodyResponse { response }),
        Asked::RequestTrailers(_) => Said::RequestTrailers(TrailersResponse::default()),
        Asked::ResponseTrailers(_) => Said::ResponseTrailers(TrailersResponse::default()),
    };
    ProcessingResponse { response: Some(said), ..ProcessingResponse::default() }
}

pub(crate) fn set(name: &str, value: &str) -> HeaderMutation {
    HeaderMutation {
        set_headers: vec![HeaderValueOption {
            header: Some(HeaderValue {
                key: name.into(),
                raw_value: value.as_bytes().to_vec(),
                ..HeaderValue::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..HeaderValueOption::default()
        }],
        ..HeaderMutation::default()
    }
}

struct Service(Arc<dyn Fn(Asked) -> ProcessingResponse + Send + Sync>);

#[tonic::async_trait]
impl ExternalProcessor for Service {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let answer = self.0.clone();
        let answers = request.into_inner().filter_map(move |asked| {
            let answer = asked.ok().and_then(|asked| asked.request).map(|asked| Ok(answer(asked)));
            futures::future::ready(answer)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
