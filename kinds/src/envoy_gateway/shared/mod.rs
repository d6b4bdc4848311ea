//! What several kinds of Envoy Gateway share.
//!
//! Every field is optional here, whatever the schema says: admission has filled in the defaults by then, and a merge of
//! two policies has to tell a field that is absent from one that is empty.

mod backend_refs;
mod cluster_settings;
mod health_check;
mod http_headers;
mod load_balancer;
mod quantity;
mod targets;
mod telemetry;
mod tls;

pub use backend_refs::*;
pub use cluster_settings::*;
pub use health_check::*;
pub use http_headers::*;
pub use load_balancer::*;
pub use quantity::Quantity;
pub use targets::*;
pub use telemetry::*;
pub use tls::*;

/// Plain structures in the spelling of Kubernetes, every field optional.
macro_rules! records {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }
    )+};
}
pub(crate) use records;

/// Words of a closed set.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }
    )+};
}
pub(crate) use words;

records! {
    /// A presence without content, such as `http3: {}`.
    Empty {}

    Fraction {
        numerator: u32,
        denominator: Option<u32>,
    }
}

impl Fraction {
    /// In millionths.
    #[must_use]
    pub fn millionths(&self) -> u32 {
        let denominator = u64::from(self.denominator.unwrap_or(100).max(1));
        u32::try_from((u64::from(self.numerator) * 1_000_000 / denominator).min(1_000_000)).unwrap_or(1_000_000)
    }
}
