//! From an edit in a directory to its being served: the whole program, and a stock Envoy.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::{Chancery, Echo, Envoy, HttpClient, eventually, free_port};

use crate::layouts::{host, route, surroundings};

const EDITS: usize = 40;
const TARGET: Duration = Duration::from_millis(50);

/// The control plane that was built beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let directory = here.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(directory.join("chancery"))
}

pub(crate) async fn measure(routes: usize) -> anyhow::Result<()> {
    let echo = Echo::start("app").await?;
    for (what, one_file) in [("a file for each route", false), ("all in one file", true)] {
        for protocol in ["delta", "sotw"] {
            let port = free_port();
            let first = surroundings(port, echo.port);
            let texts: Vec<String> = (0..routes).map(|n| route(n, "none")).collect();
            let whole = |edited: Option<&str>| {
                let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                texts.extend(edited);
                format!("{first}---\n{}", texts.join("---\n"))
            };
            let all = whole(None);
            let names: Vec<String> = (0..routes).map(|n| format!("route-{n}.yaml")).collect();
            let mut files = vec![("all.yaml", all.as_str())];
            if !one_file {
                files = vec![("all.yaml", first.as_str())];
                files.extend(names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())));
            }
            let binary = binary()?;
            let control = Chancery::start(&binary.display().to_string(), &files).await?;
            let bootstrap = control.bootstrap("default/web", &["--protocol", protocol]).await?;
            let _envoy = Envoy::start(&bootstrap).await?;
            let edited = HttpClient::new(port).host(&host(routes));
            let mut took = Vec::new();
            for edit in 0..EDITS {
                let mark = format!("edit-{edit}");
                let text = route(routes, &mark);
                let begin = Instant::now();
                if one_file {
                    control.write("all.yaml", &whole(Some(&text)))?;
                } else {
                    control.write("edited.yaml", &text)?;
                }
                let served = || async {
                    edited.get("/").await.ok().filter(|reply| reply.header("x-edit") == Some(mark.as_str()))
                };
                eventually("the edit is served", Duration::from_secs(60), served).await;
                took.push(begin.elapsed());
            }
            took.sort_unstable();
            let (median, worst) = (took[EDITS / 2], took[EDITS - 1]);
            let over = if median > TARGET { ": over the target" } else { "" };
            println!(
                "edit to served, {routes} routes, {what}, {protocol}: median {median:.1?}, worst {worst:.1?}{over}"
            );
        }
    }
    Ok(())
}
