//! Streams whose client asked for no usage: it sees its own events, and only those, however the server's bytes are cut.

#![allow(clippy::unwrap_used)]

use script_check::Scripts;
use testkit::bodies::Random;

const EXTRA: &str = "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
const END: &str = "data: [DONE]\n\n";

/// Events that stay, each for a reason.
const OWN: [&str; 7] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\": {}\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
    "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"completion_tokens\":1}}\n\n",
    "data: {\"choices\":[],\"inner\":{\"usage\":{\"completion_tokens\":1}}}\n\n",
    ": still there\n\n",
    "data:{\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\r\n\r\n",
];

/// A text cut at random.
fn cut<'a>(text: &'a str, random: &mut Random, longest: usize) -> Vec<&'a str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.len().min(1 + random.below(longest)));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

#[test]
fn the_extra_event_is_all_that_is_missing() {
    let scripts = Scripts::load().unwrap();
    let crlf = EXTRA.replace('\n', "\r\n");
    for extra in ["", EXTRA, &crlf] {
        let own = OWN.concat();
        let whole = format!("{own}{extra}{END}");
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let longest = [1, 7, 60, 1000][usize::try_from(seed % 4).unwrap()];
            let pieces = cut(&whole, &mut random, longest);
            assert_eq!(scripts.passed(&pieces).unwrap(), format!("{own}{END}"), "{pieces:?}");
        }
    }
}

#[test]
fn nothing_is_held_that_cannot_become_the_extra_event() {
    let scripts = Scripts::load().unwrap();
    for text in ["data: [DONE]", "event: ping\ndata: x", "data: [DONE]\n", ": comment"] {
        assert_eq!(scripts.passed(&[text]).unwrap(), text);
    }
}
