//! Values with `*` in them: each stands for zero or more characters, anywhere in the value.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    first: Box<str>,
    /// What stands between the first and the last star, without the empty parts.
    middle: Vec<Box<str>>,
    last: Box<str>,
}

impl Pattern {
    pub(super) fn new(value: &str) -> Option<Self> {
        let mut parts = value.split('*');
        let first = parts.next()?;
        let mut middle: Vec<&str> = parts.collect();
        let last = middle.pop()?;
        let middle = middle.into_iter().filter(|part| !part.is_empty()).map(Into::into).collect();
        Some(Self { first: first.into(), middle, last: last.into() })
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        let Some(rest) = value.strip_prefix(&*self.first) else { return false };
        let Some(mut rest) = rest.strip_suffix(&*self.last) else { return false };
        // The leftmost place for each part leaves the most room for the next one.
        for part in &self.middle {
            match rest.split_once(&**part) {
                Some((_, tail)) => rest = tail,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars() {
        let matches = |pattern: &str, value: &str| Pattern::new(pattern).unwrap().matches(value);
        for (pattern, good, bad) in [
            ("*", vec!["", "a"], vec![]),
            ("a*", vec!["a", "ab"], vec!["", "ba"]),
            ("*z", vec!["z", "az"], vec!["za"]),
            ("a*z", vec!["az", "abz"], vec!["a", "z", "abzb"]),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
            ("*mid*", vec!["mid", "amidz"], vec!["mi"]),
            ("a*b*c*d", vec!["abcd", "axbxcxd"], vec!["acbd"]),
            ("a**b", vec!["ab", "axb"], vec!["b"]),
        ] {
            for value in good {
                assert!(matches(pattern, value), "{pattern} {value}");
            }
            for value in bad {
                assert!(!matches(pattern, value), "{pattern} {value}");
            }
        }
        assert_eq!(Pattern::new("abc"), None);
    }
}
