//! Which identity may ask for which Gateway.

use std::str::FromStr;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `IDENTITY=NAMESPACE/NAME`: an Envoy whose certificate says that identity may ask for that Gateway. Either side may
/// hold `*`, which stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    identity: String,
    gateway: String,
}

impl FromStr for AccessRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('=') {
            Some((identity, gateway)) if !identity.is_empty() && gateway.contains(['/', '*']) => {
                Ok(Self { identity: identity.to_owned(), gateway: gateway.to_owned() })
            }
            _ => Err(format!("`{text}` is not IDENTITY=NAMESPACE/NAME")),
        }
    }
}

impl AccessRule {
    /// A group without a name, that of rate limit services, can only be said this way.
    #[must_use]
    pub fn new(identity: &str, gateway: &str) -> Self {
        Self { identity: identity.to_owned(), gateway: gateway.to_owned() }
    }
}

/// All rules. With none, whoever may connect may ask for every Gateway.
#[derive(Clone, Debug, Default)]
pub struct Access {
    rules: Vec<AccessRule>,
    gateways: Option<String>,
}

impl Access {
    #[must_use]
    pub fn new(rules: Vec<AccessRule>) -> Self {
        Self { rules, gateways: None }
    }

    /// Whoever is called this and then `NAMESPACE/NAME` may ask for that Gateway, besides what the rules allow.
    #[must_use]
    pub fn with_gateways(self, prefix: &str) -> Self {
        Self { gateways: Some(prefix.to_owned()), ..self }
    }

    pub(crate) fn allows(&self, identities: &[String], gateway: &str) -> bool {
        let meets = |rule: &AccessRule| {
            matches(&rule.gateway, gateway) && identities.iter().any(|identity| matches(&rule.identity, identity))
        };
        let is_its_own =
            |prefix: &String| identities.iter().any(|identity| identity.strip_prefix(prefix.as_str()) == Some(gateway));
        let open = self.rules.is_empty() && self.gateways.is_none();
        open || self.rules.iter().any(meets) || self.gateways.as_ref().is_some_and(is_its_own)
    }
}

/// The names that a client's certificate vouches for: URIs and DNS names.
pub(crate) fn identities(certificate: &[u8]) -> Arc<[String]> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Arc::from([]) };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Arc::from([]) };
    let of = |name: &GeneralName<'_>| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(of).collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    if matches(rest, text) {
        return true;
    }
    while let Some(next) = text.chars().next() {
        text = &text[next.len_utf8()..];
        if matches(rest, text) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_bind_identities_to_gateways() {
        let rules = ["spiffe://x/ns/shop/sa/*=shop/*", "edge.example.com=infra/edge"];
        let access = Access::new(rules.iter().map(|rule| rule.parse().unwrap()).collect());
        let shop = ["spiffe://x/ns/shop/sa/envoy".to_owned()];
        assert!(access.allows(&shop, "shop/web"));
        assert!(!access.allows(&shop, "infra/edge"));
        assert!(!access.allows(&["spiffe://x/ns/other/sa/envoy".to_owned()], "shop/web"));
        assert!(access.allows(&["edge.example.com".to_owned()], "infra/edge"));
        assert!(!access.allows(&[], "infra/edge"));
        assert!(Access::default().allows(&[], "any/thing"));
        assert!("nothing".parse::<AccessRule>().is_err());
    }

    #[test]
    fn a_gateways_own_identity_opens_it_and_no_other() {
        let access = Access::default().with_gateways("spiffe://x/gateway/");
        let web = ["spiffe://x/gateway/shop/web".to_owned()];
        assert!(access.allows(&web, "shop/web"));
        assert!(!access.allows(&web, "shop/web2"));
        assert!(!access.allows(&web, "web"));
        assert!(!access.allows(&[], "shop/web"));
        let either = Access::new(vec!["edge=infra/*".parse().unwrap()]).with_gateways("spiffe://x/gateway/");
        assert!(either.allows(&web, "shop/web") && either.allows(&["edge".to_owned()], "infra/edge"));
        assert!(!either.allows(&web, "infra/edge"));
    }
}
