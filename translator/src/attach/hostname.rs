//! Hostnames: how listeners and routes narrow each other.

use smol_str::SmolStr;

/// The hostname that both sides allow, or none when they exclude each other. None as an argument allows every host.
pub(crate) fn intersect(listener: Option<&str>, route: Option<&str>) -> Option<Option<SmolStr>> {
    match (listener, route) {
        (None, None) => Some(None),
        (Some(one), None) | (None, Some(one)) => Some(Some(one.into())),
        (Some(listener), Some(route)) if listener == route => Some(Some(route.into())),
        (Some(listener), Some(route)) => {
            if covers(listener, route) {
                Some(Some(route.into()))
            } else if covers(route, listener) {
                Some(Some(listener.into()))
            } else {
                None
            }
        }
    }
}

/// Whether a wildcard hostname covers another, itself a name or a narrower wildcard.
pub(crate) fn covers(wildcard: &str, hostname: &str) -> bool {
    let Some(suffix) = wildcard.strip_prefix('*') else { return wildcard == hostname };
    let inner = hostname.strip_prefix('*').unwrap_or(hostname);
    // `*.example.com` covers `*.a.example.com` and `a.example.com`, but not `example.com`.
    inner.len() > suffix.len() && inner.ends_with(suffix)
}

/// The more specific hostname sorts first: a name before wildcards, longer wildcards before shorter, then any host.
pub(crate) fn specificity(hostname: Option<&str>) -> (u8, std::cmp::Reverse<usize>) {
    match hostname {
        Some(name) if !name.starts_with('*') => (0, std::cmp::Reverse(name.len())),
        Some(wildcard) => (1, std::cmp::Reverse(wildcard.len())),
        None => (2, std::cmp::Reverse(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_routes_narrow_each_other() {
        let cases = [
            (None, None, Some(None)),
            (Some("a.example.com"), None, Some(Some("a.example.com"))),
            (None, Some("*.example.com"), Some(Some("*.example.com"))),
            (Some("*.example.com"), Some("a.b.example.com"), Some(Some("a.b.example.com"))),
            (Some("a.example.com"), Some("*.example.com"), Some(Some("a.example.com"))),
            (Some("*.example.com"), Some("*.b.example.com"), Some(Some("*.b.example.com"))),
            (Some("*.example.com"), Some("example.com"), None),
            (Some("a.example.com"), Some("b.example.com"), None),
            (Some("*.a.com"), Some("*.b.com"), None),
        ];
        for (listener, route, expected) in cases {
            let found = intersect(listener, route);
            assert_eq!(found.as_ref().map(|h| h.as_deref()), expected, "{listener:?} with {route:?}");
        }
    }
}
