//! Forms, and what could be taken for two different things in them.

#![allow(clippy::unwrap_used)]

use script_check::Scripts;
use testkit::bodies::Verdict;

const TYPE: &str = "multipart/form-data; boundary=b";

fn part(head: &str, content: &str) -> String {
    format!("--b\r\n{head}\r\n\r\n{content}\r\n")
}

fn field(name: &str, content: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), content)
}

fn file() -> String {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav";
    part(head, "RIFF\r\n-- b\r\nmodel\r\n")
}

fn verdict(form: &str, content_type: &str) -> Verdict {
    Scripts::load().unwrap().verdict_as(form.as_bytes(), content_type).unwrap()
}

#[test]
fn plain_forms_name_their_model() {
    let model = |name: &str| Verdict::Model(name.to_owned());
    let form = |parts: &[String]| parts.concat() + "--b--\r\n";
    let good = form(&[file(), field("model", "whisper")]);
    assert_eq!(verdict(&good, TYPE), model("whisper"));
    assert_eq!(verdict(&good, "multipart/form-data; charset=utf-8; boundary=\"b\""), model("whisper"));
    assert_eq!(verdict(&format!("\r\n{good}the end"), TYPE), model("whisper"));
    assert_eq!(verdict(&form(&[field("Model", "x"), field("model", "whisper")]), TYPE), model("whisper"));
    assert_eq!(verdict(&form(&[file()]), TYPE), Verdict::Nameless);
    let lower = part("content-disposition: form-data; filename*=UTF-8''%C3%A9.wav; name=\"file\"", "x");
    assert_eq!(verdict(&form(&[lower, field("model", "whisper")]), TYPE), model("whisper"));
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    let shown = field("model", "shown");
    let hidden = |head: &str| shown.clone() + &part(head, "hidden") + "--b--\r\n";
    let heads = [
        "Content-Disposition: form-data; name*=UTF-8''model",
        "Content-Disposition: form-data; name=\"mod\\el\"",
        "Content-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=\"other\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"other\"\r\nContent-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data;\r\n name=\"model\"",
        "Content-Disposition: form-data; name =\"model\"",
        "Content-Type: text/plain; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"",
    ];
    for head in heads {
        assert_eq!(verdict(&hidden(head), TYPE), Verdict::Refused, "{head}");
    }
    let end = "--b--\r\n";
    for form in [
        format!("before{shown}{end}"),
        format!("x\r\n{shown}{end}"),
        shown.clone(),
        format!("{shown}--bc\r\n{end}"),
        String::new(),
        format!("{}{end}", field("model", "with\nlines")),
    ] {
        assert_eq!(verdict(&form, TYPE), Verdict::Refused, "{form:?}");
    }
    let good = format!("{shown}{end}");
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=b; boundary=c"] {
        assert_eq!(verdict(&good, content_type), Verdict::Refused, "{content_type}");
    }
}
