//! `chancery graph DIR`: the resource graph as DOT or SVG.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use super::objects::Objects;
use crate::drawing;

/// Draw which object refers to which, and what is missing or not permitted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    objects: Objects,
    /// DOT for Graphviz, SVG for a browser
    #[arg(long, value_enum, default_value_t = Format::Dot, env = "CHANCERY_GRAPH_FORMAT")]
    format: Format,
    /// Only what one object leads to and what leads to it; with SVG
    #[arg(long, value_name = "KIND/NAMESPACE/NAME", env = "CHANCERY_GRAPH_FOCUS")]
    focus: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Dot,
    Svg,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.focus.is_none() || args.format == Format::Svg, "--focus wants --format svg");
    let translated = args.objects.translate()?;
    let graph = translated.translator.graph();
    let text = match args.format {
        Format::Dot => graph.to_dot(),
        Format::Svg => drawing::to_svg(graph, args.focus.as_deref()).context("no such object in the graph")?,
    };
    write!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
