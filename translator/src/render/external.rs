//! The cluster of a server that is known by its address alone, such as the one that publishes a JWT provider's keys.

use xds_api::envoy::config::cluster::v3::Cluster;
use xds_api::envoy::config::cluster::v3::cluster::ClusterDiscoveryType;
use xds_api::envoy::config::core::v3::{DataSource, TransportSocket, data_source, transport_socket};
use xds_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use xds_api::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use xds_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
};
use xds_api::{Resource, ResourceType, any};

use super::build::seconds;
use super::cluster::{by_name, dns, http2};
use crate::engine::{Outcome, Product, View};
use crate::names::Authority;
use crate::routing::exactly;

const CONNECT_SECONDS: i64 = 10;

pub(crate) fn evaluate(authority: &Authority, view: &View<'_>) -> Outcome {
    let name = authority.to_string();
    let mut cluster = Cluster {
        name: name.clone(),
        connect_timeout: Some(seconds(CONNECT_SECONDS)),
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(dns())),
        load_assignment: Some(by_name(&name, &[(authority.host.to_string(), authority.port)])),
        ..Cluster::default()
    };
    if authority.http2 {
        cluster.typed_extension_protocol_options = http2();
    }
    if authority.tls {
        cluster.transport_socket = Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context(
                &authority.host,
                &view.options.system_roots,
            )))),
        });
    }
    Product::Resource(Resource::encode(ResourceType::Cluster, &name, &cluster)).into()
}

/// The server proves its name by an authority that the system trusts.
fn context(host: &str, roots: &str) -> UpstreamTlsContext {
    let validation = CertificateValidationContext {
        trusted_ca: Some(DataSource {
            specifier: Some(data_source::Specifier::Filename(roots.to_owned())),
            ..DataSource::default()
        }),
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: SanType::Dns as i32,
            matcher: Some(exactly(host)),
            ..SubjectAltNameMatcher::default()
        }],
        ..CertificateValidationContext::default()
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..CommonTlsContext::default()
        }),
        sni: host.to_owned(),
        ..UpstreamTlsContext::default()
    }
}
