//! What the rules of the official schemas mean, for whoever broke one.
//!
//! Most rules have one of a few shapes, so the tables hold shapes: what a shape captures is named in what is said. The
//! first row that fits speaks, so rules of one place stand before shapes that hold for many.

/// A shape of rules, what it means, and what to do; `$1` and `$2` are what the shape captured.
pub(super) type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const ROUTES: &[Row] = &[
    (r"'Service'\)? (?:\?|\|\|) has\(self\.port\)", "a reference to a Service needs a port", "add the port of the Service"),
    (r"value\.startsWith\('/'\)", "a path must start with /", "put a / in front"),
    (r"!self\.value\.contains\('(.+)'\)", "a path cannot hold `$1`", "remove it, or match by RegularExpression"),
    (r"!self\.value\.endsWith\('(.+)'\)", "a path cannot end in `$1`", "remove it, or match by RegularExpression"),
    (r"PathPrefix'\]\) \? self\.value\.matches\(", "the path has characters that a path cannot have", "write them percent-encoded"),
    (r"\|\| self\.type == 'RegularExpression'", "there is no such type of path", "use Exact, PathPrefix or RegularExpression"),
    (r"self\[0\]\.matches\.size\(\)", "more than 128 matches in one route", "spread the rules over several routes"),
    (r"self\.matches\[0\]\.path\.type != 'PathPrefix'", "replacePrefixMatch needs exactly one match, by PathPrefix", "match by one PathPrefix, or use replaceFullPath"),
    (r"filters\.all\(f, !has\(f\.requestRedirect\)\)", "a rule that redirects cannot forward as well", "remove backendRefs, or the redirect"),
    (r"'RequestRedirect'\) && self\.exists\(", "RequestRedirect and URLRewrite exclude each other", "keep one of the two filters"),
    (r"filter\(f, f\.type == '(\w+)'\)\.size\(\) <= 1", "a filter of type $1 may stand here only once", "keep one of them"),
    (r"'\*' in self && ", "`*` stands for everything, and other entries stand beside it", "keep `*` alone, or remove it"),
    (r"duration\(self\.backendRequest\) > duration\(self\.request\)", "one attempt may take longer than the whole request", "make backendRequest at most request"),
    (r"has\(self\.absoluteTimeout\)", "a cookie with lifetimeType Permanent needs absoluteTimeout", "add absoluteTimeout, or use lifetimeType Session"),
    (r"!has\(self\.cookieConfig\)", "cookieConfig goes with type Cookie", "set type: Cookie, or remove cookieConfig"),
    (r"\? has\(self\.service\) \|\| has\(self\.method\)", "a match of a method needs `service` or `method`", "add one of them"),
    (r"self\.(service|method)\.matches\(", "`$1` is not a name that gRPC can have", "use letters, digits and _, with dots in a service"),
    (r"^self\.all\(p1, self\.all\(p2, .*sectionName", "two entries name the same object, one of them as a whole", "give each a sectionName or a port of its own"),
    (r"^self\.all\(p1, self\.exists_one\(p2, .*sectionName", "two entries name the same object and section", "remove one of them"),
    (r"self\.all\(h, !isIP\(h\)\)", "a hostname cannot be an IP address", "write a name"),
    (r"self\.all\(h, ", "one of the hostnames is not a DNS name", "use lower-case letters, digits and -, and * only as the first label"),
];

#[rustfmt::skip]
const GATEWAYS: &[Row] = &[
    (r"\['HTTP', 'TCP', 'UDP'\] \? !has\(l\.tls\)", "a listener of protocol HTTP, TCP or UDP takes no tls", "remove tls, or use protocol HTTPS or TLS"),
    (r"l\.protocol == 'HTTPS' && has\(l\.tls\)", "a listener of protocol HTTPS ends TLS itself", "set tls.mode: Terminate, or use protocol TLS"),
    (r"l\.protocol == 'TLS' \?", "a listener of protocol TLS needs tls.mode", "add tls.mode: Terminate or Passthrough"),
    (r"!has\(l\.hostname\)", "a listener of protocol TCP or UDP takes no hostname", "remove hostname"),
    (r"(?:l1|r1)\.name == (?:l2|r2)\.name", "two entries have the same name", "give each a name of its own"),
    (r"l1\.port == l2\.port", "two listeners have the same port, protocol and hostname", "change one of the three"),
    (r"size\(self\.certificateRefs\) > 0", "a listener that ends TLS needs a certificate", "add tls.certificateRefs, or set mode: Passthrough"),
    (r"t1\.port == t2\.port", "two entries are for the same port", "keep one of them"),
    (r"p1\.number\s*==\s*p2\.number", "the same port stands twice", "keep one of them"),
    (r"self\.all\(a1, a1\.type == '(\w+)'", "the same address of type $1 stands twice", "keep one of them"),
    (r"self\.type == 'Hostname' \? .*matches", "the address is not a DNS name", "use lower-case letters, digits, - and dots"),
    (r"self\.all\(key, ", "the key of an annotation or label has not the form it needs", "write it as name or example.com/name"),
    (r"self == oldSelf", "the value cannot be changed once it is set", "make a new object instead"),
];

#[rustfmt::skip]
const BACKENDS: &[Row] = &[
    (r"'DynamicResolver' \|\| !has\(self\.endpoints\)", "a DynamicResolver takes its addresses from requests", "remove endpoints, or the type"),
    (r"'DynamicResolver' \|\| !has\(self\.tls\)", "a DynamicResolver has no endpoint to take a name from", "remove autoSNIFromEndpointHostname"),
    (r"has\(e\.hostname\)", "an endpoint by address has no name to send as SNI", "give it a hostname, or set tls.sni"),
    (r"self\.all\(f, has\(f\.fqdn\)\)", "endpoints by name and by address do not mix", "make two Backends of it"),
    (r"has\(self\.fqdn\) && !\(has", "an endpoint is one of fqdn, ip and unix", "keep one of them"),
    (r"size\(self\) <= (\d+)", "longer than $1 bytes", "shorten it"),
];

#[rustfmt::skip]
const POLICIES: &[Row] = &[
    (r"mergeType\) \|\| .*in \[(.+?)\]", "mergeType goes with targets that can have a policy above theirs", "use targets of kind $1, or remove mergeType"),
    (r"self\.(\w+)\) \|\| \(\(!has\(self\.targetRef\) .*?in \[(.+?)\]", "`$1` cannot be used with a target of that kind", "use targets of kind $2, or remove it"),
    (r"target\w+\.kind in \[(.+?)\]", "the policy cannot have a target of that kind", "use a target of kind $1"),
    (r"targetRefs\.all\(ref, ref\.kind in \[(.+?)\]", "the policy cannot have a target of that kind", "use targets of kind $1"),
    (r"target\w+(?:\.all\(ref, ref)?\.group == '(.+?)'", "the group of the target is not $1", "policies have Gateways, ListenerSets and routes for targets: set group: $1"),
    (r"has\(self\.targetSelectors\)", "the policy must name its targets, in one way", "use targetRefs, or targetSelectors"),
    (r"self\.group == 'gateway\.networking\.k8s\.io'", "the group must be gateway.networking.k8s.io", "set it, or leave group out"),
    (r"self\.from != 'Selector'", "from: Selector needs a selector", "add selector"),
    (r"has\(self\.wellKnownCACertificates\) && self\.wellKnownCACertificates != .{2}\)$", "how certificates are checked is given twice, or not at all", "use either caCertificateRefs or wellKnownCACertificates"),
    (r"insecureSkipVerify\)? *&&", "insecureSkipVerify and CA certificates exclude each other", "keep one of them"),
    (r"has\(self\.sni\) && has\(self\.autoSNI", "sni and autoSNIFromEndpointHostname exclude each other", "keep one of them"),
    (r"'1\.3' \? !has\(self\.ciphers\)", "TLS 1.3 has no ciphers to choose", "remove ciphers, or lower minVersion"),
    (r"self\.minVersion", "minVersion is above maxVersion", "make minVersion at most maxVersion"),
    (r#"!\(self\.type == ["'](\w+)["'] && \(!has\(self\.(\w+)\)"#, "type $1 needs `$2`", "add `$2`"),
    (r#"!\(self\.type != ["'](\w+)["'] && has\(self\.(\w+)\)"#, "`$2` goes with type $1", "set type: $1, or remove `$2`"),
    (r"self\.numerator <= self\.denominator", "a fraction cannot be more than one", "make numerator at most denominator"),
    (r"duration\(self\.timeout\) < duration\(self\.interval\)", "timeout is not less than interval", "make timeout less than interval"),
    (r"self != 'Replace'", "a policy that merges cannot replace", "use StrategicMerge or JSONMerge"),
    (r"(?:r\.limit\.(fromMetadata)|has\(r\.(cost\.response)\))", "a local limit cannot have `$1`", "remove it, or use a global limit"),
    (r"has\(self\.jwt\) : true", "rules that look at claims of a token need `jwt`", "add jwt with the provider of the token"),
    (r"size\(self\.claimToHeaders\) > 0", "recomputeRoute needs claimToHeaders: nothing else would change the route", "add claimToHeaders"),
    (r"perRetry\.timeout", "retries of this service cannot have a time for each", "remove perRetry.timeout"),
    (r"retryOn\.httpStatusCodes", "retries of this service cannot be by status", "remove retryOn.httpStatusCodes"),
    (r"^!has\(self\.backendRef\)$", "backendRef is no longer read here", "use backendRefs"),
    (r"^has\(self\.backendRef\) \|\| self\.backendRefs\.size\(\) > 0$|self\.backendRefs\.size\(\) > 0$", "needs a backend", "add backendRefs"),
    (r"backendRefs\.all\(f, f\.kind ", "a backend of that kind cannot be used here", "use a Service or a Backend"),
    (r#"backendRefs\.all\(f, f\.group "#, "a backend of that group cannot be used here", "use a Service or a Backend of gateway.envoyproxy.io"),
    (r"preferLocal\) && has\(self\.zoneAware\.weightedZones", "preferLocal and weightedZones exclude each other", "keep one of them"),
    (r"self\.(\w+) >= (\d+) && self\.\w+ <= 100", "`$1` is a percentage, from $2 to 100", "write such a number"),
    (r"duration\(self\.(\w+)\) >= duration\('1s'\)", "`$1` is less than a second", "make it one second or more"),
    (r"duration\(self\) > duration\('0s'\)", "the duration must be more than nothing", "write one such as 10s"),
    (r"self\.exists\(e, e == 'Failure'", "failures and recoveries are logged together or not at all", "name an event of each sort"),
    (r"!has\(self\.requestBody\)", "only a check by POST or PUT has a body", "set method: POST, or remove requestBody"),
    (r"self\.end > self\.start", "the range ends before it begins", "make end more than start"),
    (r"^self\.type == 'ReplaceFullPath'$", "the answer of a backend does not know which prefix its request matched", "use replaceFullPath"),
    (r"self\.(?:valueRef\.)?kind (?:== 'ConfigMap'|in \['ConfigMap', 'Secret'\])", "a reference of that kind cannot be read here", "refer to a ConfigMap"),
    (r"^self\.kind == '(\w+)'", "a reference of that kind cannot be read here", "refer to a $1"),
    (r"!has\(self\.remove\)", "headers of this answer can be set and added, not removed", "leave remove out"),
    (r"\.filter\(x, x\)\.size\(\) == 1|\? 1 : 0\) == 1", "exactly one of its fields can be given", "keep one of them"),
    (r"!has\(self\.closeDelay\)", "closeDelay needs a value to be about", "add value"),
    (r"self\.certDetailsToAdd", "certDetailsToAdd goes with mode AppendForward or SanitizeSet", "set one of these modes"),
    (r"self\.allowExpiredCertificate", "allowExpiredCertificate goes with mode VerifyIfGiven or RequireAndVerify", "set one of these modes"),
    (r"self\.failOpen == true", "failOpen cannot go with FullDuplexStreamed bodies", "use another body mode, or remove failOpen"),
    (r"self\.shadowMode == true", "shadowMode goes with Streamed bodies only", "use body: Streamed, or remove shadowMode"),
    (r"startsWith\('envoy\.filters\.http'\)", "the namespaces of Envoy's own filters cannot be written", "use a namespace of your own"),
    (r"self\.type == 'Inline' && |self\.type == 'Value' && ", "type and content do not go together", "give the field that the type names, and no other"),
    (r"lowerAscii\(\) != 'host'", "the header host cannot carry a token", "use another header"),
    (r"^self\.matches\('\^\[a-zA-Z0-9\._-\]\+", "not the name of an image", "write it as host/path:tag"),
    (r"preconnect\.predictivePercent", "predictivePercent goes with loadBalancer of type Random or RoundRobin", "use one of these, or remove predictivePercent"),
    (r"\? !has\(self\.(slowStart)\)|\? !has\(self\.(zoneAware(?:\.preferLocal)?)\)|\? !has\(self\.(endpointOverride)\)", "a load balancer of that type cannot have `$1$2$3`", "remove it, or use another type"),
];

#[rustfmt::skip]
const AI: &[Row] = &[
    (r"match\.kind == 'Gateway'", "the parents of an AIGatewayRoute are Gateways", "set kind: Gateway"),
    (r"self\.name != 'route-not-found'", "the name route-not-found is taken", "use another name for the rule"),
    (r"backendRefs\.all\(ref, !has\(ref\.group\)", "a rule has backends of one sort", "use either AIServiceBackends or one InferencePool"),
    (r"size\(self\.backendRefs\) == 1$", "a rule with an InferencePool has no other backend", "keep the pool alone, or use AIServiceBackends"),
    (r"^!has\(self\.group\) && !has\(self\.kind\)", "group and kind go together", "give both, or neither for an AIServiceBackend"),
    (r"self\.kind == 'InferencePool'", "a backend of that kind cannot be used here", "use an AIServiceBackend, or an InferencePool of inference.networking.k8s.io"),
    (r"has\(self\.kind\) && self\.kind == 'Backend'", "the backend is not a Backend of gateway.envoyproxy.io", "put a Backend in front of the Service"),
    (r"^self\.type == '(\w+)' \? \(has\(self\.(\w+)\) && !has", "type $1 needs `$2`, and no credentials of another type", "keep `$2` only"),
    (r"ref\.kind == 'AIServiceBackend'", "the policy cannot have a target of that kind", "use an AIServiceBackend, or what else the policy can have"),
    (r"forwardIDToken\.header\.lowerAscii\(\) == 'authorization'", "both tokens would be sent in the header authorization", "send the ID token in another header"),
];

/// Shapes that rules of many places have.
#[rustfmt::skip]
const COMMON: &[Row] = &[
    (r#"^!\(has\(self\.(\w+)\) && self\.type != '(\w+)'\)$"#, "`$1` goes with type $2", "set type: $2, or remove `$1`"),
    (r#"^!\(!has\(self\.(\w+)\) && self\.type == '(\w+)'\)$"#, "type $2 needs `$1`", "add `$1`"),
    (r"self\.type == '(\w+)' \? has\(self\.(\w+)\) : !has", "type $1 and `$2` go together", "give `$2` with type $1, and with no other"),
    (r"^has\(self\.(\w+)\) \? self\.(\w+) == '(\w+)' : true$", "`$1` goes with $2 $3", "set $2: $3, or remove `$1`"),
    (r"self\.(type|protocol) == '(\w+)'\)? ?\? has\(self\.(\w+)\)", "$1 $2 needs `$3`", "add `$3`"),
    (r"self\.(type|protocol) == '(\w+)'\)? ?\? !has\(self\.(\w+)\)", "$1 $2 cannot have `$3`", "remove `$3`"),
    (r"^!has\(self\.(\w+)\) \|\| self\.type == '(\w+)'$", "`$1` goes with type $2", "set type: $2, or remove `$1`"),
    (r"^self\.type (?:!= '(\w+)' \|\| has|== '\w+' \|\| !has)\(self\.(\w+)\)$", "type and `$2` do not go together", "add or remove `$2`, or change the type"),
    (r"^\s*!\(has\(self\.(\w+)\) && has\(self\.(\w+)\)\)\s*$", "`$1` and `$2` exclude each other", "keep one of them"),
    (r"^!has\(self\.(\w+)\) \|\| !has\(self\.(\w+)\)", "`$1` and `$2` exclude each other", "keep one of them"),
    (r"^\(*has\(self\.(\w+)\) && !has\(self\.(\w+)\)\)* \|\| \(", "needs one of `$1` and `$2`, and not both", "keep one of them"),
    (r"^\s*\(*has\(self\.(\w+)\) \|\| (has\(self\.\w+\)(?: \|\| has\(self\.\w+\))*)\)*\s*$", "needs at least one of its fields", "add `$1` or one of the others"),
];

/// All rows, in the order in which they are tried.
pub(super) const TABLES: [&[Row]; 6] = [ROUTES, GATEWAYS, BACKENDS, POLICIES, AI, COMMON];
