//! What to say of a broken rule. The rules are expressions; these are their meanings, for whoever broke one.

/// A distinctive part of a rule, what it means, and what to do.
const MEANINGS: [(&str, &str, &str); 22] = [
    ("has(self.port)", "a reference to a Service needs a port", "add the port of the Service"),
    ("RequestRedirect", "a rule that redirects cannot also forward or rewrite", "remove backendRefs or the redirect"),
    (
        "PathPrefix",
        "the path value does not fit its match type",
        "a path starts with / and has no //, /./, /../, %2f or #",
    ),
    ("'Exact','PathPrefix'", "the path has characters that a path cannot have", "write it percent-encoded"),
    ("startsWith('/')", "a path must start with /", "put a / in front"),
    (
        "replaceFullPath",
        "type and value of the path modifier do not go together",
        "give replaceFullPath with type ReplaceFullPath, replacePrefixMatch with ReplacePrefixMatch",
    ),
    (
        "replacePrefixMatch",
        "replacePrefixMatch needs exactly one PathPrefix match in the rule",
        "match by PathPrefix, or use ReplaceFullPath",
    ),
    (
        "requestHeaderModifier",
        "type and content of the filter do not go together",
        "give the field that the type names, and no other",
    ),
    (
        "responseHeaderModifier",
        "type and content of the filter do not go together",
        "give the field that the type names, and no other",
    ),
    (
        "requestMirror",
        "type and content of the filter do not go together",
        "give the field that the type names, and no other",
    ),
    (
        "extensionRef",
        "type and content of the filter do not go together",
        "give the field that the type names, and no other",
    ),
    ("percent", "percent and fraction exclude each other", "keep one of them"),
    ("numerator", "a fraction cannot be more than one", "make the numerator at most the denominator"),
    ("sectionName", "two entries name the same target", "give each a sectionName or port of its own, or remove one"),
    (
        "backendRequest",
        "the time of one attempt is more than the time of the whole request",
        "make backendRequest at most request",
    ),
    (
        "certificateRefs",
        "a listener that terminates TLS needs a certificate",
        "add tls.certificateRefs, or mode Passthrough",
    ),
    (
        "self.tls",
        "protocol and tls of the listener do not go together",
        "HTTP, TCP and UDP take no tls; HTTPS and TLS terminate or pass through",
    ),
    ("hostname", "the protocol of the listener takes no hostname", "remove it: TCP and UDP carry none"),
    ("self.all(l1", "two listeners are the same", "give each a name, and a port, protocol and hostname of its own"),
    ("duration(", "the duration is not one that is allowed here", "write hours, minutes, seconds as in 1h30m or 250ms"),
    (
        "targetRef",
        "the policy must name its targets, in one way, and of a kind it can have",
        "use targetRefs or targetSelectors, with a Gateway or a route",
    ),
    ("oldSelf", "the value cannot be changed once it is set", "make a new object instead"),
];

pub(super) fn of_rule(rule: &str) -> (String, Option<String>) {
    match MEANINGS.iter().find(|(part, ..)| rule.contains(part)) {
        Some((_, message, help)) => ((*message).to_owned(), Some(format!("{help} (the rule is {rule})"))),
        None => (format!("breaks the rule {rule}"), None),
    }
}
