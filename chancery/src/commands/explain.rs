//! `chancery explain DIR`: which way a request takes, and why.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use super::Manifests;
use crate::explain::{Configuration, Request, explain};

/// Say which listener, route table, route and backend a request takes, and why it passes over the others
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    /// The Gateway, as NAMESPACE/NAME or NAME; not needed where there is only one
    #[arg(long, env = "CHANCERY_EXPLAIN_GATEWAY")]
    gateway: Option<String>,
    /// The port of the listener
    #[arg(long, default_value_t = 80, env = "CHANCERY_EXPLAIN_PORT")]
    port: u16,
    /// The host of the request
    #[arg(long, default_value = "localhost", env = "CHANCERY_EXPLAIN_HOST")]
    host: String,
    /// The server name of a TLS connection, where it is not the host
    #[arg(long, env = "CHANCERY_EXPLAIN_SERVER_NAME")]
    server_name: Option<String>,
    /// GET, or POST where a model is given
    #[arg(long, env = "CHANCERY_EXPLAIN_METHOD")]
    method: Option<String>,
    /// The path, perhaps with a query
    #[arg(long, default_value = "/", env = "CHANCERY_EXPLAIN_PATH")]
    path: String,
    /// A header; may be given several times
    #[arg(long, value_name = "NAME: VALUE", env = "CHANCERY_EXPLAIN_HEADER")]
    header: Vec<String>,
    /// A query parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE", env = "CHANCERY_EXPLAIN_QUERY")]
    query: Vec<String>,
    /// The model that the body of the request names
    #[arg(long, env = "CHANCERY_EXPLAIN_MODEL")]
    model: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let request = request(args)?;
    let groups = args.manifests.translate().translator.resources();
    let name = |id: &kinds::ObjectId| format!("{}/{}", id.namespace, id.name);
    let asked = |id: &kinds::ObjectId| {
        args.gateway.as_ref().is_none_or(|asked| *asked == name(id) || *asked == id.name.as_str())
    };
    let mut fitting = groups.iter().filter(|(id, _)| asked(id));
    let known = || groups.keys().map(name).collect::<Vec<_>>().join(", ");
    let (gateway, resources) = fitting.next().with_context(|| format!("no such Gateway; there are: {}", known()))?;
    anyhow::ensure!(fitting.next().is_none(), "several Gateways: choose with --gateway one of {}", known());
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "Gateway {}", name(gateway))?;
    for line in explain(&Configuration::decode(resources)?, &request) {
        writeln!(stdout, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> anyhow::Result<Request> {
    let method = args.method.as_deref().unwrap_or(if args.model.is_some() { "POST" } else { "GET" });
    let mut request = Request::new(args.port, &args.host, method, &args.path);
    for header in &args.header {
        let (name, value) = header.split_once(':').with_context(|| format!("not `NAME: VALUE`: {header}"))?;
        request.add_header(name.trim(), value.trim());
    }
    for parameter in &args.query {
        let (name, value) = parameter.split_once('=').with_context(|| format!("not `NAME=VALUE`: {parameter}"))?;
        request.add_query(name, value);
    }
    request.server_name = Some(args.server_name.clone().unwrap_or_else(|| request.host.clone()));
    request.model.clone_from(&args.model);
    Ok(request)
}
