//! What a server wants changed about a request, as a header that its cluster's filter reads and takes away.
//!
//! The form is `share&key=value&...`, several shares apart by `;`, with values percent-encoded.

use std::fmt::Write;

use kinds::ai::{HttpBodyMutation, HttpHeaderMutation};

use super::api::Api;

/// Carries the edits to the filter that makes them.
pub(crate) const EDITS_HEADER: &str = "x-chancery-edits";
/// Says which share of a cluster an attempt goes to.
pub(crate) const SHARE_HEADER: &str = "x-chancery-share";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// The path, with places for the rest of the client's path and for the model.
    pub path: Option<String>,
    pub model: Option<String>,
    pub headers: HttpHeaderMutation,
    pub body: HttpBodyMutation,
    /// The name of the backend, for whoever counts what it answers; then streams have to end with their usage.
    pub counted: Option<String>,
}

/// The path of a server that has what clients of OpenAI's API ask for where they ask for it.
pub(crate) const SAME_PATH: &str = "/v1{rest}";

impl Edits {
    /// Whether there is anything to change for requests of an API.
    pub(crate) fn any(&self, api: Api) -> bool {
        let same_path = api == Api::OpenAi && self.path.as_deref().is_none_or(|path| path == SAME_PATH);
        let nothing = Self { path: self.path.clone(), ..Self::default() };
        !same_path || *self != nothing
    }

    /// Takes over what a more specific place says; it wins for each name.
    pub(crate) fn overlay(&mut self, headers: Option<&HttpHeaderMutation>, body: Option<&HttpBodyMutation>) {
        for one in headers.iter().flat_map(|edits| &edits.set) {
            self.headers.remove.retain(|name| !name.eq_ignore_ascii_case(&one.name));
            self.headers.set.retain(|other| !other.name.eq_ignore_ascii_case(&one.name));
            self.headers.set.push(one.clone());
        }
        for name in headers.iter().flat_map(|edits| &edits.remove) {
            self.headers.set.retain(|other| !other.name.eq_ignore_ascii_case(name));
            self.headers.remove.push(name.clone());
        }
        for one in body.iter().flat_map(|edits| &edits.set) {
            self.body.remove.retain(|path| *path != one.path);
            self.body.set.retain(|other| other.path != one.path);
            self.body.set.push(one.clone());
        }
        for path in body.iter().flat_map(|edits| &edits.remove) {
            self.body.set.retain(|other| other.path != *path);
            self.body.remove.push(path.clone());
        }
    }

    pub(crate) fn encode(&self, share: usize) -> String {
        let mut text = share.to_string();
        let mut field = |key: &str, name: &str, value: &str| {
            text.push('&');
            text.push_str(key);
            if !name.is_empty() {
                text.push('.');
                percent(&mut text, name);
            }
            text.push('=');
            percent(&mut text, value);
        };
        if let Some(path) = &self.path {
            field("p", "", path);
        }
        if let Some(model) = &self.model {
            field("m", "", model);
        }
        if let Some(backend) = &self.counted {
            field("b", "", backend);
            field("u", "", "1");
        }
        for name in &self.headers.remove {
            field("hr", "", &name.to_ascii_lowercase());
        }
        for header in &self.headers.set {
            field("hs", &header.name.to_ascii_lowercase(), &header.value);
        }
        for path in &self.body.remove {
            field("br", "", path);
        }
        for one in &self.body.set {
            field("bs", &one.path, &one.value);
        }
        text
    }
}

fn percent(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'{' | b'}' | b':' | b'?' | b',')
        {
            text.push(char::from(byte));
        } else {
            // Infallible: the target is a String.
            let _ = write!(text, "%{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use kinds::ai::{BodyField, HeaderValue};

    use super::*;

    #[test]
    fn the_same_path_is_that_of_the_client() {
        for endpoint in super::super::api::ENDPOINTS.iter().filter(|endpoint| endpoint.api == Api::OpenAi) {
            let path = SAME_PATH.replace("{rest}", endpoint.rest);
            let path = path.find("/../").map_or(path.as_str(), |at| &path[at + 3..]);
            assert_eq!(path, endpoint.path);
        }
    }

    #[test]
    fn values_cannot_break_out_of_their_field() {
        let edits = Edits {
            path: Some("/v1{rest}?a=b&c".into()),
            model: Some("org/m;x%".into()),
            headers: HttpHeaderMutation {
                set: vec![HeaderValue { name: "X-A".into(), value: "1 & 2".into() }],
                remove: vec!["X-B".into()],
            },
            body: HttpBodyMutation {
                set: vec![BodyField { path: "t".into(), value: "{\"a\":1}".into() }],
                remove: Vec::new(),
            },
            counted: None,
        };
        assert_eq!(
            edits.encode(1),
            "1&p=/v1{rest}?a%3db%26c&m=org/m%3bx%25&hr=x-b&hs.x-a=1%20%26%202&bs.t=%7b%22a%22:1%7d"
                .replace("%7b", "{")
                .replace("%7d", "}")
        );
    }
}
