//! `chancery crds`: the CustomResourceDefinitions for an API server.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use kinds::definitions::{self, Definition};

/// Print the CustomResourceDefinitions that an API server needs, ready for `kubectl apply --server-side -f -`
///
/// Without --official they take the manifests of older releases too, and there are stand-ins for kinds that published
/// guides use. Leave out, with --except, the groups that another product on the cluster has installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The definitions that the projects publish, which refuse manifests of older releases
    #[arg(long, env = "CHANCERY_CRDS_OFFICIAL")]
    official: bool,
    /// Only those that differ from the official ones
    #[arg(long, conflicts_with = "official")]
    ours: bool,
    /// Only these API groups
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these API groups
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    except: Vec<String>,
    /// Write a file for each into a directory
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let set: Vec<Definition> =
        if args.official { definitions::official().collect() } else { definitions::compatible().collect() };
    let named = |groups: &[String], definition: &Definition| groups.iter().any(|group| group == definition.group());
    let wanted = |definition: &&Definition| {
        (definition.ours || !args.ours)
            && (args.only.is_empty() || named(&args.only, definition))
            && !named(&args.except, definition)
    };
    if let Some(directory) = &args.output {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    let mut stdout = std::io::stdout().lock();
    for definition in set.iter().filter(wanted) {
        let text = definition.yaml.trim_end();
        match &args.output {
            Some(directory) => {
                let path = directory.join(format!("{}.yaml", definition.name));
                std::fs::write(&path, format!("{text}\n"))
                    .with_context(|| format!("{} cannot be written", path.display()))?;
            }
            None => writeln!(stdout, "---\n{text}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
