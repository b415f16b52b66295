//! Networks as operators write them: `192.0.2.0/24`, `2001:db8::/32`, a single address.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Zero behind the prefix.
    first: IpAddr,
    /// Bits that count.
    prefix: u8,
}

impl Network {
    /// The first of its addresses.
    pub const fn address(&self) -> IpAddr {
        self.first
    }

    /// How many bits they have in common.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is one of it. IPv4 in an address of IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && cut(address, self.prefix) == self.first
    }
}

/// The address with what is behind `prefix` bits set to zero.
pub(crate) fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!("{text:?} is no network: write 192.0.2.0/24, 2001:db8::/32, or an address; names are not looked up")
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| wrong())?;
        let first = given.to_canonical();
        let bits: u8 = if first.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => bits,
            // The prefix of ::ffff:192.0.2.0/120 counts from the beginning of the longer address.
            Some(text) => {
                let written =
                    Some(text).filter(is_number).and_then(|text| text.parse::<u8>().ok()).ok_or_else(wrong)?;
                let mapped = if given.is_ipv6() && first.is_ipv4() { 96 } else { 0 };
                written.checked_sub(mapped).filter(|prefix| *prefix <= bits).ok_or_else(wrong)?
            }
        };
        if cut(first, prefix) != first {
            return Err(format!("{text:?} is no network: with /{prefix} it is {}/{prefix}", cut(first, prefix)));
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_begins_like_them() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "0.0.0.0/0", "203.0.113.1", "::1"),
            ("::/0", "::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::/33", "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            (" ::1 ", "::1/128", "::1", "::2"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24", "::ffff:192.0.2.9", "192.0.3.1"),
        ];
        for (text, shown, inside, outside) in cases {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown);
            assert_eq!(network.to_string().parse(), Ok(network));
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "any",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "192.0.2/24",
            "::/129",
            "::ffff:1.2.3.4/64",
        ] {
            assert!(text.parse::<Network>().unwrap_err().contains("is no network"), "{text}");
        }
        let error = "192.0.2.1/24".parse::<Network>().unwrap_err();
        assert!(error.ends_with("with /24 it is 192.0.2.0/24"), "{error}");
    }
}
