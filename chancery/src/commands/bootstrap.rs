//! `chancery bootstrap --gateway NAMESPACE/NAME`: what an Envoy needs to find the control plane.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

/// Print an Envoy bootstrap that points at the control plane
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The Gateway that the Envoy runs
    #[arg(long, value_name = "NAMESPACE/NAME", env = "CHANCERY_GATEWAY")]
    pub gateway: String,
    /// Where the control plane serves xDS; several are tried in turn
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:18000",
        env = "CHANCERY_XDS",
        value_delimiter = ','
    )]
    pub xds: Vec<String>,
    /// The address of Envoy's own admin pages
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9901")]
    pub admin: String,
    /// Envoy's node id
    #[arg(long, default_value = "envoy")]
    pub node_id: String,
    /// The protocol variant
    #[arg(long, value_enum, default_value_t = Protocol::Delta)]
    pub protocol: Protocol,
    #[command(flatten)]
    pub transport: Transport,
}

/// How the Envoy reaches the control plane over TLS. It reads the files when it starts.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Transport {
    /// The authority that signs the control plane's certificate, in PEM: with it, xDS goes over TLS
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_CA")]
    pub xds_ca: Option<PathBuf>,
    /// The Envoy's own certificate, for a control plane that asks for one
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_ENVOY_CERT", requires = "xds_ca", requires = "xds_envoy_key")]
    pub xds_envoy_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", env = "CHANCERY_XDS_ENVOY_KEY", requires = "xds_envoy_cert")]
    pub xds_envoy_key: Option<PathBuf>,
    /// The name that the control plane's certificate must have; otherwise the host of `--xds`
    #[arg(long, value_name = "NAME", env = "CHANCERY_XDS_SERVER_NAME", requires = "xds_ca")]
    pub xds_server_name: Option<String>,
}

impl Transport {
    /// The transport socket of the control plane's cluster; none in plain text.
    fn socket(&self, host: &str) -> Option<Value> {
        let authority = self.xds_ca.as_deref()?;
        let name = self.xds_server_name.as_deref().unwrap_or(host);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let (kind, wanted) = match address {
            Some(address) => ("IP_ADDRESS", address.to_string()),
            None => ("DNS", name.to_owned()),
        };
        let mut common = json!({
            "alpn_protocols": ["h2"],
            "validation_context": {
                "trusted_ca": file(authority),
                "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": wanted}}],
            },
        });
        if let (Some(certificate), Some(key)) = (&self.xds_envoy_cert, &self.xds_envoy_key) {
            common["tls_certificates"] = json!([{"certificate_chain": file(certificate), "private_key": file(key)}]);
        }
        let mut context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": common,
        });
        if address.is_none() {
            context["sni"] = json!(wanted);
        }
        Some(json!({"name": "envoy.transport_sockets.tls", "typed_config": context}))
    }
}

fn file(path: &Path) -> Value {
    json!({"filename": path})
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Delta,
    Sotw,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    write!(std::io::stdout().lock(), "{}", render(args)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn render(args: &Args) -> anyhow::Result<String> {
    let (admin_host, admin_port) = host_and_port(&args.admin)?;
    let mut endpoints = String::new();
    for server in &args.xds {
        let (host, port) = host_and_port(server)?;
        endpoints.push_str(&format!(
            "        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}\n"
        ));
    }
    let (first, _) = host_and_port(args.xds.first().map(String::as_str).unwrap_or_default())?;
    // YAML has all of JSON.
    let socket = args.transport.socket(first).map(|socket| format!("    transport_socket: {socket}\n"));
    let socket = socket.unwrap_or_default();
    let api_type = if args.protocol == Protocol::Delta { "DELTA_GRPC" } else { "GRPC" };
    Ok(format!(
        r#"# Envoy bootstrap for the Gateway {gateway}
node:
  id: {id}
  cluster: {gateway}
admin:
  address: {{socket_address: {{address: {admin_host}, port_value: {admin_port}}}}}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc:
        cluster_name: chancery
        retry_policy: {{retry_back_off: {{base_interval: 0.25s, max_interval: 5s}}}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: chancery
    type: STRICT_DNS
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http2_protocol_options:
            connection_keepalive: {{interval: 30s, timeout: 10s}}
{socket}    load_assignment:
      cluster_name: chancery
      endpoints:
      - lb_endpoints:
{endpoints}deferred_stat_options:
  enable_deferred_creation_stats: true
cluster_manager:
  enable_deferred_cluster_creation: true
stats_flush_interval: 60s
layered_runtime:
  layers:
  - name: limits
    static_layer:
      re2.max_program_size.error_level: 1000
"#,
        gateway = args.gateway,
        id = args.node_id,
    ))
}

fn host_and_port(address: &str) -> anyhow::Result<(&str, &str)> {
    address.rsplit_once(':').ok_or_else(|| anyhow::anyhow!("`{address}` is not HOST:PORT"))
}
