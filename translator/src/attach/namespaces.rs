//! Which namespaces a listener takes objects from.

use kinds::core::Namespace;
use kinds::gateway::{LabelSelector, NamespaceFrom};
use kinds::{Kind, ObjectId};
use smol_str::SmolStr;

use crate::engine::View;

pub(crate) fn allowed(
    from: NamespaceFrom,
    selector: Option<&LabelSelector>,
    own: &SmolStr,
    other: &SmolStr,
    view: &View<'_>,
) -> bool {
    match from {
        NamespaceFrom::All => true,
        NamespaceFrom::Same => own == other,
        NamespaceFrom::None => false,
        NamespaceFrom::Selector => selector.is_some_and(|selector| {
            let namespace = view.object(&ObjectId::new(Kind::Namespace, "", other.clone()));
            // A namespace without a document of its own has the one label that every namespace has.
            let name_label = [(SmolStr::new_static("kubernetes.io/metadata.name"), other.clone())];
            let mut labels: std::collections::BTreeMap<SmolStr, SmolStr> = name_label.into();
            if let Some(namespace) = namespace.filter(|object| object.spec::<Namespace>().is_some()) {
                labels.extend(namespace.meta.labels.clone());
            }
            selector.matches(&labels)
        }),
    }
}
