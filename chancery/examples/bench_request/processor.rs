//! A minimal external processor that does what routing by model and counting tokens take: five messages a request, and one for
//! each piece of a stream.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use serde_json::Value as Json;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use xds_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
use xds_api::envoy::service::ext_proc::v3::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use xds_api::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use xds_api::envoy::service::ext_proc::v3::processing_response::Response as Said;
use xds_api::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingRequest, ProcessingResponse,
    TrailersResponse,
};
use xds_api::google::protobuf::{Struct, Value, value};

pub(crate) async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let service = ExternalProcessorServer::new(Processor).max_decoding_message_size(64 << 20);
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(service);
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

struct Processor;

fn common(headers: Option<HeaderMutation>, again: bool) -> Option<CommonResponse> {
    Some(CommonResponse { header_mutation: headers, clear_route_cache: again, ..CommonResponse::default() })
}

fn model(body: &[u8]) -> Option<HeaderMutation> {
    let body: Json = serde_json::from_slice(body).ok()?;
    Some(HeaderMutation {
        set_headers: vec![HeaderValueOption {
            header: Some(HeaderValue {
                key: "x-model".to_owned(),
                raw_value: body["model"].as_str()?.as_bytes().to_vec(),
                ..HeaderValue::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..HeaderValueOption::default()
        }],
        ..HeaderMutation::default()
    })
}

/// The usage of a whole answer, or of the events in a piece of one.
fn usage(piece: &[u8]) -> Option<Struct> {
    let text = std::str::from_utf8(piece).ok()?;
    let events = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let mut found = events.filter_map(|event| serde_json::from_str::<Json>(event).ok());
    let usage = found.rfind(|event| event["usage"].is_object())?["usage"].clone();
    let number = |name: &str| Value { kind: Some(value::Kind::NumberValue(usage[name].as_f64().unwrap_or_default())) };
    let costs = [
        ("llm_total_token", "total_tokens"),
        ("llm_input_token", "prompt_tokens"),
        ("llm_output_token", "completion_tokens"),
    ];
    let inner = Struct { fields: costs.map(|(key, name)| (key.to_owned(), number(name))).into() };
    let outer = Value { kind: Some(value::Kind::StructValue(inner)) };
    Some(Struct { fields: [("io.envoy.ai_gateway".to_owned(), outer)].into() })
}

fn answer(asked: Asked) -> ProcessingResponse {
    let mut dynamic_metadata = None;
    let said = match asked {
        Asked::RequestHeaders(_) => Said::RequestHeaders(HeadersResponse { response: common(None, false) }),
        Asked::RequestBody(body) => Said::RequestBody(BodyResponse { response: common(model(&body.body), true) }),
        Asked::ResponseHeaders(_) => Said::ResponseHeaders(HeadersResponse { response: common(None, false) }),
        Asked::ResponseBody(body) => {
            dynamic_metadata = usage(&body.body);
            Said::ResponseBody(BodyResponse { response: common(None, false) })
        }
        Asked::RequestTrailers(_) => Said::RequestTrailers(TrailersResponse::default()),
        Asked::ResponseTrailers(_) => Said::ResponseTrailers(TrailersResponse::default()),
    };
    ProcessingResponse { response: Some(said), dynamic_metadata, ..ProcessingResponse::default() }
}

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let answers = request.into_inner().filter_map(|message| async move {
            match message {
                Ok(message) => message.request.map(|asked| Ok(answer(asked))),
                Err(error) => Some(Err(error)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
