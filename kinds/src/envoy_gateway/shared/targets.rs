//! What a policy is about: objects by name, or by their labels.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::records;
use crate::gateway::{LabelSelector, LabelSelectorRequirement, LocalPolicyTargetReference, NamespaceFrom};

records! {
    PolicyTargets {
        /// The older form of a list of one.
        target_ref: Option<LocalPolicyTargetReference>,
        target_refs: Vec<LocalPolicyTargetReference>,
        target_selectors: Vec<TargetSelector>,
    }

    TargetSelector {
        group: Option<SmolStr>,
        kind: SmolStr,
        match_labels: BTreeMap<SmolStr, SmolStr>,
        match_expressions: Vec<LabelSelectorRequirement>,
        namespaces: Option<TargetNamespaces>,
    }

    TargetNamespaces {
        from: NamespaceFrom,
        selector: Option<LabelSelector>,
    }
}

impl TargetSelector {
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
        let selector = LabelSelector {
            match_labels: self.match_labels.clone(),
            match_expressions: self.match_expressions.clone(),
        };
        selector.matches(labels)
    }
}
