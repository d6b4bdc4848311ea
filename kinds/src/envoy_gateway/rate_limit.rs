//! Limits of a BackendTrafficPolicy: who may ask how often, and how much it may cost.

use smol_str::SmolStr;

use super::shared::{records, words};

records! {
    RateLimitSpec {
        /// Older manifests say which of the two is meant; each is in force where it is written.
        #[serde(rename = "type")]
        kind: Option<RateLimitType>,
        global: Option<RateLimitRules>,
        local: Option<RateLimitRules>,
    }

    RateLimitRules {
        rules: Vec<RateLimitRule>,
    }

    RateLimitRule {
        /// What a request has to be like: all of it.
        client_selectors: Vec<RateLimitSelector>,
        limit: RateLimitValue,
        cost: Option<RateLimitCost>,
        /// One counter for everything that the policy is about, instead of one for each route.
        shared: Option<bool>,
        shadow_mode: Option<bool>,
        x_rate_limit_headers: Option<XRateLimitHeaders>,
    }

    RateLimitSelector {
        headers: Vec<RateLimitHeader>,
        methods: Vec<RateLimitMethod>,
        path: Option<RateLimitPath>,
        #[serde(rename = "sourceCIDR")]
        source_cidr: Option<RateLimitSource>,
        query_params: Vec<RateLimitHeader>,
    }

    /// A header, or a parameter of the query.
    RateLimitHeader {
        #[serde(rename = "type")]
        kind: Option<RateLimitMatch>,
        name: SmolStr,
        value: Option<SmolStr>,
        invert: Option<bool>,
    }

    RateLimitMethod {
        value: SmolStr,
        invert: Option<bool>,
    }

    RateLimitPath {
        #[serde(rename = "type")]
        kind: Option<RateLimitPathMatch>,
        value: SmolStr,
        invert: Option<bool>,
    }

    RateLimitSource {
        #[serde(rename = "type")]
        kind: Option<RateLimitSourceMatch>,
        value: SmolStr,
        invert: Option<bool>,
    }

    RateLimitValue {
        requests: u64,
        unit: Option<RateLimitUnit>,
        from_metadata: Option<RateLimitMetadata>,
    }

    RateLimitCost {
        request: Option<RateLimitCostOf>,
        response: Option<RateLimitCostOf>,
    }

    RateLimitCostOf {
        from: Option<RateLimitCostFrom>,
        number: Option<i64>,
        metadata: Option<RateLimitMetadata>,
    }

    RateLimitMetadata {
        namespace: SmolStr,
        key: SmolStr,
    }
}

words! {
    RateLimitType { Global, Local, }

    RateLimitMatch { Exact, RegularExpression, Distinct, }

    RateLimitPathMatch { Exact, PathPrefix, RegularExpression, }

    RateLimitSourceMatch { Exact, Distinct, }

    RateLimitCostFrom { Number, Metadata, }

    RateLimitUnit { Second, Minute, Hour, Day, Week, Month, Year, }

    XRateLimitHeaders { Off, DraftVersion03, }
}
