//! Every byte the translator makes, pinned.
//!
//! `testdata/AREA/CASE/input.yaml` becomes `golden/AREA/CASE/*`. `UPDATE_GOLDEN=1` writes the files anew; else a difference
//! fails. Every case also proves what [`properties`] lists, and a stock Envoy judges all of them at once ([`envoy`]).

mod case;
mod envoy;
mod properties;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cases: Vec<Case> = inputs(&root.join("testdata")).into_iter().map(|input| Case::new(&root, input)).collect();
    let mut trials: Vec<Trial> = Vec::new();
    for case in cases.clone() {
        trials.push(Trial::test(case.name.clone(), move || judge(&case)));
    }
    let known: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let golden = root.join("golden");
    trials.push(Trial::test("no golden file without its case", move || no_leftovers(&golden, &known)));
    trials.push(Trial::test("a stock Envoy accepts every case", move || envoy::accepts(&cases)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn judge(case: &Case) -> Result<(), Failed> {
    let made = case.translate();
    properties::hold(case, &made)?;
    case.compare(&made)
}

fn inputs(testdata: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for area in directories(testdata) {
        found.extend(directories(&area).into_iter().filter(|case| case.join("input.yaml").exists()));
    }
    found
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn no_leftovers(golden: &Path, known: &[String]) -> Result<(), Failed> {
    for area in directories(golden) {
        for case in directories(&area) {
            let name = case.strip_prefix(golden).unwrap_or(&case).display().to_string();
            if !known.contains(&name) {
                return Err(format!("golden/{name} has no testdata/{name}").into());
            }
        }
    }
    Ok(())
}
