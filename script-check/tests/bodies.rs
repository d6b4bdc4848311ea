//! A small part of `make fuzz`.

#![allow(clippy::unwrap_used)]

use script_check::Scripts;

#[test]
fn the_scripts_read_bodies_as_serde_json_does() {
    let tally = Scripts::load().unwrap().compare(0..20_000).unwrap_or_else(|error| panic!("{error:#}"));
    for (what, count) in [
        ("models", tally.models),
        ("nameless", tally.nameless),
        ("refused", tally.refused),
        ("lenient", tally.lenient),
        ("edited", tally.edited),
    ] {
        assert!(count > 100, "too few bodies are {what}: {tally:?}");
    }
}
