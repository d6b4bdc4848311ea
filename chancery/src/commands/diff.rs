//! `chancery diff OLD NEW`: what a change of manifests does to Envoys.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use similar::TextDiff;
use xds_api::{Resource, ResourceType, to_yaml};

use super::Manifests;
use super::translate::FILES;

/// Show what a change of manifests does to Envoys, resource by resource
///
/// Exit status: 0 when both are the same to Envoys, 1 when they differ, 2 when they could not be compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifests before the change: a directory, a file, or `-` for standard input
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The manifests after it
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Only name the resources
    #[arg(long, env = "CHANCERY_DIFF_BRIEF")]
    brief: bool,
}

/// Stands among the Gateways for what the rate limit service is told.
const LIMITS: &str = "";

type Resources = BTreeMap<(ResourceType, String), Resource>;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let old = resources(&args.old)?;
    let new = resources(&args.new)?;
    let mut stdout = std::io::stdout().lock();
    let mut same = true;
    let gateways: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = Resources::new();
    for gateway in gateways {
        let sides = [old.get(gateway).unwrap_or(&none), new.get(gateway).unwrap_or(&none)];
        same &= write_gateway(&mut stdout, gateway, sides, args.brief)?;
    }
    if same {
        writeln!(stdout, "nothing changes for any Envoy")?;
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn resources(path: &Path) -> anyhow::Result<BTreeMap<String, Resources>> {
    anyhow::ensure!(path.as_os_str() == "-" || path.exists(), "{} does not exist", path.display());
    let translated = Manifests { paths: vec![path.to_path_buf()] }.translate();
    let groups = translated.translator.resources().into_iter().map(|(gateway, resources)| {
        let by_name = resources.into_iter().map(|resource| ((resource.kind, resource.name.to_string()), resource));
        (format!("{}/{}", gateway.namespace, gateway.name), by_name.collect::<Resources>())
    });
    let limits = translated.translator.limits().into_iter();
    let limits: Resources = limits.map(|resource| ((resource.kind, resource.name.to_string()), resource)).collect();
    Ok(groups.chain([(LIMITS.to_owned(), limits)]).collect())
}

/// True when the Envoys of the Gateway see no change.
fn write_gateway(
    out: &mut impl Write,
    gateway: &str,
    [old, new]: [&Resources; 2],
    brief: bool,
) -> anyhow::Result<bool> {
    let mut counts = [0; 3];
    let mut bytes = 0;
    let mut text = Vec::new();
    for (kind, file) in FILES.into_iter().chain([(ResourceType::RateLimitConfig, "limits")]) {
        let names: BTreeSet<&String> =
            old.keys().chain(new.keys()).filter(|(other, _)| *other == kind).map(|(_, name)| name).collect();
        for name in names {
            let key = (kind, name.clone());
            let (before, after) = (old.get(&key), new.get(&key));
            let (count, verb) = match (before, after) {
                (Some(before), Some(after)) if before.body == after.body => continue,
                (None, _) => (0, "added"),
                (Some(_), None) => (1, "removed"),
                (Some(_), Some(_)) => (2, "changed"),
            };
            counts[count] += 1;
            let travels = after.map_or(name.len(), |after| after.body.len());
            bytes += travels;
            writeln!(text, "{verb} {file}: {name} ({travels} bytes)")?;
            if !brief {
                text.extend(unified(kind, before, after)?.into_bytes());
            }
        }
    }
    let [added, removed, changed] = counts;
    if added + removed + changed == 0 {
        return Ok(true);
    }
    if gateway == LIMITS {
        writeln!(out, "Limits: {added} domains added, {removed} removed, {changed} changed; {bytes} bytes")?;
    } else {
        writeln!(
            out,
            "Gateway {gateway}: {added} added, {removed} removed, {changed} changed; {bytes} bytes to each of its Envoys"
        )?;
    }
    out.write_all(&text)?;
    Ok(false)
}

fn unified(kind: ResourceType, before: Option<&Resource>, after: Option<&Resource>) -> anyhow::Result<String> {
    if kind == ResourceType::Secret {
        return Ok("  (what a secret holds is not shown)\n".to_owned());
    }
    let yaml = |resource: Option<&Resource>| resource.map_or(Ok(String::new()), to_yaml);
    let (before, after) = (yaml(before)?, yaml(after)?);
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let mut text = String::new();
    for line in diff.unified_diff().context_radius(3).to_string().lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}
