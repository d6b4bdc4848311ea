//! `chancery translate DIR [-o OUT]`: Envoy resources as YAML, one file a type.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use xds_api::{Resource, ResourceType, list_to_yaml};

use super::has_errors;
use super::objects::Objects;

/// Print the Envoy resources that manifests become
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    objects: Objects,
    /// A directory to write one file a Gateway and type to, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// The file of each type, as under `golden/`.
pub(crate) const FILES: [(ResourceType, &str); 7] = [
    (ResourceType::Listener, "listeners"),
    (ResourceType::ScopedRoute, "scopes"),
    (ResourceType::RouteConfiguration, "routes"),
    (ResourceType::Cluster, "clusters"),
    (ResourceType::Endpoints, "endpoints"),
    (ResourceType::Secret, "secrets"),
    (ResourceType::ExtensionConfig, "extensions"),
];

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let translated = args.objects.translate()?;
    let mut stdout = std::io::stdout().lock();
    for (gateway, resources) in translated.translator.resources() {
        for (kind, file) in FILES {
            let of_kind: Vec<&Resource> = resources.iter().filter(|resource| resource.kind == kind).collect();
            if of_kind.is_empty() {
                continue;
            }
            let yaml = list_to_yaml(of_kind)?;
            match &args.output {
                Some(out) => {
                    let directory = out.join(gateway.namespace.as_str()).join(gateway.name.as_str());
                    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
                    let path = directory.join(format!("{file}.yaml"));
                    std::fs::write(&path, yaml).with_context(|| path.display().to_string())?;
                }
                None => writeln!(stdout, "# {}/{}: {file}\n{yaml}---", gateway.namespace, gateway.name)?,
            }
        }
    }
    let limits = translated.translator.limits();
    if !limits.is_empty() {
        let yaml = list_to_yaml(&limits)?;
        match &args.output {
            Some(out) => {
                std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
                let path = out.join("ratelimit.yaml");
                std::fs::write(&path, yaml).with_context(|| path.display().to_string())?;
            }
            None => writeln!(stdout, "# ratelimit\n{yaml}---")?,
        }
    }
    let mut stderr = std::io::stderr().lock();
    let color = stderr.is_terminal();
    write!(stderr, "{}", kinds::report::to_text(&translated.diagnostics, color))?;
    Ok(if has_errors(&translated.diagnostics) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
