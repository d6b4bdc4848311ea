//! A request as far as routing looks at it.

/// Header names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub port: u16,
    /// Without a port: listeners strip it.
    pub host: String,
    pub server_name: Option<String>,
    pub method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub model: Option<String>,
}

impl Request {
    /// The path may hold a query.
    pub(crate) fn new(port: u16, host: &str, method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut request = Self {
            port,
            host: without_port(host).to_owned(),
            server_name: None,
            method: method.to_ascii_uppercase(),
            path: normalized(path),
            query: Vec::new(),
            headers: Vec::new(),
            model: None,
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            request.add_query(name, value);
        }
        request
    }

    pub(crate) fn add_query(&mut self, name: &str, value: &str) {
        self.query.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }

    pub(crate) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// All values of a header, joined as Envoy joins them to match.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        match name {
            ":method" => return Some(self.method.clone()),
            ":authority" | "host" => return Some(self.host.clone()),
            ":path" => return Some(self.path.clone()),
            _ => {}
        }
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The first value of a parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Listeners merge slashes and resolve dots before anything is matched.
fn normalized(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = true;
    for segment in path.split('/') {
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normal_before_they_are_matched() {
        for (path, normal) in [("", "/"), ("/", "/"), ("//a///b", "/a/b"), ("/a/../b/./c/", "/b/c/"), ("/..", "/")] {
            assert_eq!(normalized(path), normal, "{path}");
        }
    }

    #[test]
    fn ports_are_no_part_of_hosts() {
        assert_eq!(without_port("a.example:8080"), "a.example");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("a.example"), "a.example");
    }
}
