//! Client status discovery: the view of the fleet, in the form that Envoy's own tools read.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use xds_api::ResourceType;
use xds_api::envoy::admin::v3::UpdateFailureState;
use xds_api::envoy::config::core::v3::Node;
use xds_api::envoy::service::status::v3::client_config::GenericXdsConfig;
use xds_api::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use xds_api::envoy::service::status::v3::{ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus};

use crate::fleet::{Client, Fleet, TypeProgress, short_name};

/// Answers with one entry for each type of each client: contents are not shown, for there are secrets among them.
#[derive(Clone, Debug)]
pub(crate) struct ClientStatus {
    pub fleet: Fleet,
}

impl ClientStatus {
    /// Node ids can be asked for exactly; without a matcher everyone is shown.
    fn answer(&self, request: &ClientStatusRequest) -> ClientStatusResponse {
        use xds_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
        let ids: Vec<&str> = request
            .node_matchers
            .iter()
            .filter_map(|matcher| match matcher.node_id.as_ref()?.match_pattern.as_ref()? {
                MatchPattern::Exact(id) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let clients = self.fleet.clients();
        let shown = clients.iter().filter(|client| ids.is_empty() || ids.contains(&client.node.as_str()));
        ClientStatusResponse { config: shown.map(client_config).collect() }
    }
}

fn client_config(client: &Client) -> ClientConfig {
    let node = Node { id: client.node.clone(), cluster: client.gateway.as_str().to_owned(), ..Default::default() };
    let of = |kind: ResourceType| Some(generic_config(kind, client.types.get(short_name(kind))?));
    ClientConfig {
        node: Some(node),
        generic_xds_configs: ResourceType::ALL.into_iter().filter_map(of).collect(),
        client_scope: String::new(),
    }
}

fn generic_config(kind: ResourceType, progress: &TypeProgress) -> GenericXdsConfig {
    let status = match progress {
        TypeProgress { rejected: Some(_), .. } => ConfigStatus::Error,
        TypeProgress { sent: None, .. } => ConfigStatus::NotSent,
        TypeProgress { sent, acknowledged, .. } if sent == acknowledged => ConfigStatus::Synced,
        _ => ConfigStatus::Stale,
    };
    let error_state = progress.rejected.as_ref().map(|message| UpdateFailureState {
        details: message.clone(),
        version_info: progress.sent.clone().unwrap_or_default().into(),
        ..Default::default()
    });
    GenericXdsConfig {
        type_url: kind.type_url().to_owned(),
        version_info: progress.acknowledged.clone().unwrap_or_default().into(),
        config_status: status.into(),
        error_state,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for ClientStatus {
    type StreamClientStatusStream = Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let status = self.clone();
        let answers = request.into_inner().map(move |request| Ok(status.answer(&request?)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        Ok(Response::new(self.answer(request.get_ref())))
    }
}
