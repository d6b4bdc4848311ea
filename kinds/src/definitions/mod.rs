//! The CustomResourceDefinitions of what users write, for an API server.
//!
//! There are two sets. The *official* one is what the projects publish, in the reduced form that travels with the binary: it
//! refuses manifests of older releases. The *compatible* one takes both generations: the same groups, versions and stored
//! form, a few more fields, one rule less; and it has stand-ins for kinds that published guides use and that nothing else on
//! the cluster may have installed.

mod edits;

use std::borrow::Cow;

use crate::schema::EMBEDDED;

/// A CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Plural and group.
    pub name: &'static str,
    pub yaml: Cow<'static, str>,
    /// Whether it differs from the official one, or has none.
    pub ours: bool,
}

impl Definition {
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(_, group)| group)
    }
}

macro_rules! stand_ins {
    ($($file:literal)+) => { &[$(($file, include_str!(concat!("../../schemas/stand-ins/", $file, ".yaml")))),+] };
}

/// Kinds whose own definitions are somebody else's to install; whoever has them keeps them.
const STAND_INS: &[(&str, &str)] = stand_ins! {
    "inferenceservices.serving.kserve.io"
    "llminferenceservices.serving.kserve.io"
    "ratelimitpolicies.gateway.kgateway.dev"
};

/// What the projects publish.
pub fn official() -> impl Iterator<Item = Definition> {
    EMBEDDED.iter().map(|(name, text)| Definition { name, yaml: Cow::Borrowed(*text), ours: false })
}

/// What takes the manifests of older releases as well.
pub fn compatible() -> impl Iterator<Item = Definition> {
    let widened = official().map(|official| match edits::widened(official.name, &official.yaml) {
        Some(yaml) => Definition { yaml: Cow::Owned(yaml), ours: true, ..official },
        None => official,
    });
    let stand_ins = STAND_INS.iter().map(|(name, text)| Definition { name, yaml: Cow::Borrowed(*text), ours: true });
    widened.chain(stand_ins)
}
