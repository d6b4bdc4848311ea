//! Header edits and string matches.

use smol_str::SmolStr;

use super::{records, words};

records! {
    HeaderPair {
        name: SmolStr,
        value: SmolStr,
    }

    StringMatch {
        #[serde(rename = "type")]
        kind: Option<StringMatchType>,
        value: SmolStr,
    }

    NamedStringMatch {
        name: SmolStr,
        #[serde(rename = "type")]
        kind: Option<StringMatchType>,
        value: Option<SmolStr>,
    }

    /// Edits in the order: remove, set, add.
    HeaderEdits {
        add: Vec<HeaderPair>,
        set: Vec<HeaderPair>,
        add_if_absent: Vec<HeaderPair>,
        remove: Vec<SmolStr>,
        remove_on_match: Vec<StringMatch>,
    }
}

words! {
    StringMatchType {
        Exact,
        Prefix,
        Suffix,
        RegularExpression,
    }
}
