//! The authorities of a control plane, one after the other, so that no certificate ever outlives the trust in it.
//!
//! ```text
//! old  |------- issues -------------------------|- trusted ------------------| gone
//! new                               |- trusted -|------- issues ----- ...
//!                    a third is left ^          ^ everybody has heard of it
//! ```
//!
//! They stand together in one Secret, oldest first, certificates in one file and keys in another. What there is to do
//! follows from their dates, so that every replica comes to the same.

use std::time::Duration;

use anyhow::ensure;
use time::OffsetDateTime;

use super::certificates::{Authority, Lifetimes, Pair};

#[derive(Debug)]
pub(super) struct Authorities {
    /// Oldest first; never empty.
    all: Vec<Authority>,
    lifetimes: Lifetimes,
}

impl Authorities {
    pub(super) fn first(now: OffsetDateTime, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        Ok(Self { all: vec![Authority::new(now, lifetimes)?], lifetimes })
    }

    pub(super) fn load(kept: &Pair, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        let (certificates, keys) = (blocks(&kept.certificate), blocks(&kept.key));
        ensure!(
            !certificates.is_empty() && certificates.len() == keys.len(),
            "{} certificates and {} keys",
            certificates.len(),
            keys.len()
        );
        let pairs = certificates.into_iter().zip(keys).map(|(certificate, key)| Pair { certificate, key });
        let all = pairs.map(|pair| Authority::load(pair, lifetimes)).collect::<Result<_, _>>()?;
        Ok(Self { all, lifetimes })
    }

    /// As they are kept.
    pub(super) fn kept(&self) -> Pair {
        let of = |part: fn(&Pair) -> &str| self.all.iter().map(|authority| part(&authority.pair)).collect();
        Pair { certificate: of(|pair| &pair.certificate), key: of(|pair| &pair.key) }
    }

    /// The certificates of all.
    pub(super) fn trusted(&self) -> String {
        self.kept().certificate
    }

    /// What there should be now, where that is something else.
    pub(super) fn renewed(&self, now: OffsetDateTime) -> anyhow::Result<Option<Self>> {
        let mut pairs: Vec<Pair> = Vec::new();
        for authority in self.all.iter().filter(|authority| authority.left(now).is_some()) {
            pairs.push(authority.pair.clone());
        }
        let over = pairs.len() < self.all.len();
        let due = self.all.last().is_none_or(|newest| newest.is_due(now));
        if due {
            pairs.push(Authority::new(now, self.lifetimes)?.pair);
        }
        if !over && !due {
            return Ok(None);
        }
        let all = pairs.into_iter().map(|pair| Authority::load(pair, self.lifetimes)).collect::<Result<_, _>>()?;
        Ok(Some(Self { all, lifetimes: self.lifetimes }))
    }

    /// The one that issues: the newest that everybody has heard of, else the one that there is.
    pub(super) fn issuing(&self, now: OffsetDateTime) -> Option<&Authority> {
        let known = |authority: &&Authority| {
            let age: Duration = (now - authority.made).try_into().unwrap_or_default();
            age >= self.lifetimes.spread() && authority.left(now).is_some()
        };
        self.all.iter().rev().find(known).or(self.all.last())
    }

    /// Whether one of them stands behind a certificate that is not due.
    pub(super) fn vouch_for(&self, certificate: &str, identity: &str, now: OffsetDateTime) -> bool {
        self.all.iter().any(|authority| authority.vouches_for(certificate, identity, now))
    }
}

/// The parts of a PEM file.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        block.push_str(line);
        block.push('\n');
        if line.starts_with("-----END ") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_successor_is_trusted_first_and_issues_later_and_the_old_one_goes_when_it_is_over() {
        let lifetimes = Lifetimes::new(DAY * 300, DAY * 90).unwrap();
        let begin = OffsetDateTime::now_utc();
        let first = Authorities::first(begin, lifetimes).unwrap();
        let leaf = |authorities: &Authorities, now| authorities.issuing(now).unwrap().client("me", now).unwrap();
        let old = leaf(&first, begin).certificate;
        assert!(first.renewed(begin + DAY * 199).unwrap().is_none());

        let due = begin + DAY * 201;
        let both = first.renewed(due).unwrap().unwrap();
        let both = Authorities::load(&both.kept(), lifetimes).unwrap();
        assert!(both.trusted().starts_with(&first.trusted()), "both are trusted");
        assert!(both.renewed(due + DAY).unwrap().is_none());
        let still = leaf(&both, due + DAY / 2).certificate;
        assert!(first.vouch_for(&still, "me", due + DAY / 2), "the old one issues until all have heard of the new one");
        let later = leaf(&both, due + DAY).certificate;
        assert!(!first.vouch_for(&later, "me", due + DAY) && both.vouch_for(&later, "me", due + DAY));
        assert!(both.vouch_for(&old, "me", begin), "what the old one issued goes on");

        let over = both.renewed(begin + DAY * 301).unwrap().unwrap();
        assert!(both.trusted().ends_with(&over.trusted()) && over.trusted() != both.trusted());
        assert!(over.vouch_for(&later, "me", due + DAY) && !over.vouch_for(&old, "me", begin));
    }

    #[test]
    fn what_was_kept_by_itself_is_taken() {
        let lifetimes = Lifetimes::new(DAY * 300, DAY * 90).unwrap();
        let kept = Authorities::first(OffsetDateTime::now_utc(), lifetimes).unwrap().kept();
        assert_eq!(Authorities::load(&kept, lifetimes).unwrap().kept(), kept);
        let without_key = Pair { key: String::new(), ..kept };
        assert!(Authorities::load(&without_key, lifetimes).is_err());
    }

    #[test]
    fn nobody_outlives_his_authority() {
        assert!(Lifetimes::new(DAY * 300, DAY * 100).is_none());
        assert!(Lifetimes::new(DAY, Duration::ZERO).is_none());
    }
}
