//! Names of what is made for a Gateway. A Gateway's own name may be longer than theirs may be, and may hold dots.

use kinds::ObjectId;
use xxhash_rust::xxh3::xxh3_64;

/// Labels by which whatever belongs to a Gateway is found. The first is Gateway API's own.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
pub(crate) const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "chancery");

/// The longest name of a Service, and the longest value of a label.
const LONGEST: usize = 63;
/// A dash and the hash.
const HASH: usize = 9;

/// Gateway and class, as Gateway API proposes.
pub(crate) fn of_gateway(gateway: &ObjectId, class: &str) -> String {
    bounded(&format!("{}-{class}", gateway.name))
}

/// A text as a DNS label: as it is where it is one, else cut, with a hash of the whole.
pub(crate) fn bounded(text: &str) -> String {
    let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() <= LONGEST && !text.contains('.') && starts_well {
        return text.to_owned();
    }
    let plain: String = text.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    let plain = if starts_well { plain } else { format!("gw-{plain}") };
    let kept: String = plain.chars().take(LONGEST - HASH).collect();
    let hash = xxh3_64(text.as_bytes()) as u32;
    format!("{}-{hash:08x}", kept.trim_end_matches('-'))
}

/// A text as the value of a label, which may hold dots.
pub(crate) fn label(text: &str) -> String {
    if text.len() <= LONGEST { text.to_owned() } else { bounded(text) }
}

/// The control plane that an object belongs to, as the value of a label.
pub(crate) fn instance(controller: &str) -> String {
    label(&controller.replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_and_long_ones_stay_apart() {
        assert_eq!(bounded("shop-chancery"), "shop-chancery");
        let long = "a".repeat(253);
        let (one, two) = (bounded(&long), bounded(&long[1..]));
        assert_ne!(one, two);
        assert_eq!(one.len(), LONGEST);
        assert_ne!(bounded("a.b-c"), bounded("a-b-c"));
        assert_eq!(&bounded("1.2")[..6], "gw-1-2");
        assert_eq!(label("a.b"), "a.b");
    }
}
