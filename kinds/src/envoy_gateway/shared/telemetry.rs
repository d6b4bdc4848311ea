//! Tracing, as a proxy or a policy sets it.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::{Fraction, records, words};

records! {
    Tracing {
        sampling_fraction: Option<Fraction>,
        client_sampling_fraction: Option<Fraction>,
        overall_sampling_fraction: Option<Fraction>,
        /// In percent: the older form of a fraction.
        sampling_rate: Option<u32>,
        custom_tags: BTreeMap<SmolStr, CustomTag>,
        tags: BTreeMap<SmolStr, SmolStr>,
        span_name: Option<SpanName>,
    }

    SpanName {
        client: SmolStr,
        server: SmolStr,
    }

    CustomTag {
        #[serde(rename = "type")]
        kind: Option<CustomTagType>,
        literal: Option<LiteralTag>,
        environment: Option<DefaultedTag>,
        request_header: Option<DefaultedTag>,
    }

    LiteralTag {
        value: SmolStr,
    }

    DefaultedTag {
        name: SmolStr,
        default_value: Option<SmolStr>,
    }
}

words! {
    CustomTagType { Literal, Environment, RequestHeader, }
}
