//! The addresses that Gateways ask for, and those that they may have.
//!
//! What a Gateway asks for is carried to it by the cluster, whoever had it before. So whoever runs the control plane may say
//! which addresses are there to be asked for.

use std::net::IpAddr;
use std::str::FromStr;

use kinds::gateway::GatewayAddress;

use crate::Options;

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub address: IpAddr,
    pub length: u8,
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a range of addresses");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(most);
        if length > most { Err(wrong()) } else { Ok(Self { address, length }) }
    }
}

impl AddressRange {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, bits) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits().into(), theirs.to_bits().into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        // A shift by all bits leaves none to differ.
        (ours ^ theirs).checked_shr(bits - u32::from(self.length)).is_none_or(|differing: u128| differing == 0)
    }
}

/// What becomes of an address that a Gateway asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is tried.
    Usable,
    /// It is none that there is to be had.
    NotUsable,
    /// Nothing can be reached by an address of that sort.
    Unsupported,
}

pub(crate) fn judge(address: &GatewayAddress, options: &Options) -> Verdict {
    match address.kind.as_deref() {
        None | Some("IPAddress") => {}
        Some("Hostname") => return Verdict::Usable,
        Some(_) => return Verdict::Unsupported,
    }
    // One without a value asks for any.
    let Some(value) = address.value.as_deref().filter(|value| !value.is_empty()) else { return Verdict::Usable };
    let Ok(value) = value.parse::<IpAddr>() else { return Verdict::NotUsable };
    let there = &options.gateway_addresses;
    if there.is_empty() || there.iter().any(|range| range.contains(value)) {
        Verdict::Usable
    } else {
        Verdict::NotUsable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let holds =
            |range: &str, address: &str| range.parse::<AddressRange>().unwrap().contains(address.parse().unwrap());
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "2001:db9::1"));
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/", "web"] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_had_where_it_is_there_to_be_had() {
        let address =
            |kind: Option<&str>, value: &str| GatewayAddress { kind: kind.map(Into::into), value: Some(value.into()) };
        let any = Options::default();
        let some = Options { gateway_addresses: vec!["192.0.2.0/24".parse().unwrap()], ..Options::default() };
        assert_eq!(judge(&address(None, "198.51.100.1"), &any), Verdict::Usable);
        assert_eq!(judge(&address(None, "198.51.100.1"), &some), Verdict::NotUsable);
        assert_eq!(judge(&address(Some("IPAddress"), "192.0.2.1"), &some), Verdict::Usable);
        assert_eq!(judge(&address(Some("test/other"), "x"), &any), Verdict::Unsupported);
    }
}
