//! Whom a file bans: networks and client ids, in numbers that no operator types.
//!
//! Always holds: a [`BanList`] that exists was read whole, and a file that may have been cut short is none; asking it costs a look-up for each length of
//! a network's prefix that it has, and one for the client id, however many there are.
//! Leaves to others: when the file is read (`config`), who asks (`shard`, `conn`).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use crate::limits::BAN_LIST_MAX;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanList {
    client_ids: BTreeSet<Box<str>>,
    /// By the bits that count, the networks' first addresses.
    v4: BTreeMap<u8, BTreeSet<u32>>,
    v6: BTreeMap<u8, BTreeSet<u128>>,
}

/// Why a text is no list of bans.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanListError {
    /// Nothing but space.
    #[error(
        "it is empty: was it cut short? A list that bans nobody has a line that says so, such as `# nobody`; or take bans_file out of the settings"
    )]
    Empty,
    /// A line that may go on.
    #[error("its last line does not end: was it cut short? A line ends with a newline")]
    Cut,
    /// A line that is neither.
    #[error("line {0}: {1}")]
    Line(usize, Box<str>),
    /// More than [`BAN_LIST_MAX`].
    #[error("it has more than {BAN_LIST_MAX} lines that ban somebody")]
    TooMany,
}

impl BanList {
    /// From lines with an address, a network, or `client` and a client id each; `#` begins a comment where a line or a word begins.
    pub fn parse(text: &str) -> Result<Self, BanListError> {
        if text.trim().is_empty() {
            return Err(BanListError::Empty);
        }
        if !text.ends_with('\n') {
            return Err(BanListError::Cut);
        }
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |text: String| BanListError::Line(number, text.into());
            let line = line.trim_end_matches('\r');
            if let Some(client_id) = line.trim_start().strip_prefix("client ") {
                // To the end of the line: a client id may have spaces, and `#`.
                if client_id.is_empty() || client_id.len() > usize::from(u16::MAX) {
                    return Err(wrong("client is followed by a client id of up to 65,535 bytes".to_owned()));
                }
                list.client_ids.insert(client_id.into());
            } else if let Some(word) = network_of(line).map_err(wrong)? {
                let wrong = |text: String| BanListError::Line(number, text.into());
                list.add_network(word).map_err(wrong)?;
            }
            if list.len() > BAN_LIST_MAX {
                return Err(BanListError::TooMany);
            }
        }
        Ok(list)
    }

    fn add_network(&mut self, text: &str) -> Result<(), String> {
        let no_network =
            || format!("{text:?} is neither an address, nor a network such as 192.0.2.0/24, nor `client ID`");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| no_network())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| no_network())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(format!("{text}: a prefix of this kind has up to {width} bits"));
        }
        let has_more = match address {
            IpAddr::V4(address) => masked_v4(address.to_bits(), bits) != address.to_bits(),
            IpAddr::V6(address) => masked_v6(address.to_bits(), bits) != address.to_bits(),
        };
        if has_more {
            return Err(format!("{text}: the address has bits behind its prefix: which network is meant?"));
        }
        // One of IPv4 in the dress of IPv6 is met as what it is.
        match address.to_canonical() {
            IpAddr::V4(address) if width == 32 => self.v4.entry(bits).or_default().insert(address.to_bits()),
            IpAddr::V4(address) if bits >= 96 => self.v4.entry(bits - 96).or_default().insert(address.to_bits()),
            IpAddr::V4(_) => return Err(no_network()),
            IpAddr::V6(address) => self.v6.entry(bits).or_default().insert(address.to_bits()),
        };
        Ok(())
    }

    /// Whether a client is banned.
    pub fn has(&self, client_id: &str, peer: Option<IpAddr>) -> bool {
        self.client_ids.contains(client_id) || peer.is_some_and(|peer| self.has_address(peer))
    }

    /// Whether whoever comes from this address is banned.
    pub fn has_address(&self, peer: IpAddr) -> bool {
        match peer.to_canonical() {
            IpAddr::V4(peer) => {
                self.v4.iter().any(|(bits, networks)| networks.contains(&masked_v4(peer.to_bits(), *bits)))
            }
            IpAddr::V6(peer) => {
                self.v6.iter().any(|(bits, networks)| networks.contains(&masked_v6(peer.to_bits(), *bits)))
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let v4: usize = self.v4.values().map(BTreeSet::len).sum();
        self.client_ids.len() + v4 + self.v6.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Whether it bans nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The word of a line that is no client id's, without a comment.
fn network_of(line: &str) -> Result<Option<&str>, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(word) = words.next() else { return Ok(None) };
    match words.next() {
        None => Ok(Some(word)),
        Some(more) => Err(format!("{more:?} behind {word:?}: a line has one network, or `client ID`")),
    }
}

fn masked_v4(address: u32, bits: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn masked_v6(address: u128, bits: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# of the firewall\n\n192.0.2.7\n198.51.100.0/24   # a customer\n2001:db8:bad::/48\n  10.0.0.0/8\r\n::ffff:203.0.113.5\n\
                        client pump 7 # 3\nclient evil\n";

    #[test]
    fn whoever_is_on_it_is_banned_and_nobody_else() {
        let list = BanList::parse(LIST).unwrap();
        assert_eq!(list.len(), 7);
        for (peer, expected) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("203.0.113.5", true),
            ("2001:db8:bad:ffff::1", true),
            ("2001:db8:bae::1", false),
            ("::1", false),
        ] {
            assert_eq!(list.has("good", peer.parse().ok()), expected, "{peer}");
        }
        for (client_id, expected) in [("pump 7 # 3", true), ("pump 7", false), ("evil", true), ("evil ", false)] {
            assert_eq!(list.has(client_id, None), expected, "{client_id:?}");
        }
        let all = BanList::parse("0.0.0.0/0\n::/0\n").unwrap();
        assert!(all.has_address("8.8.8.8".parse().unwrap()) && all.has_address("2001:db8::".parse().unwrap()));
    }

    #[test]
    fn a_file_that_is_broken_or_may_have_been_cut_is_no_list() {
        for (text, said) in [
            ("", "it is empty"),
            (" \n\n", "it is empty"),
            ("192.0.2.7\n198.51.100.0/2", "does not end"),
            ("192.0.2.7\nnonsense\n", "line 2: \"nonsense\" is neither"),
            ("192.0.2.0/33\n", "line 1: 192.0.2.0/33: a prefix of this kind has up to 32 bits"),
            ("192.0.2.0/x\n", "line 1: \"192.0.2.0/x\" is neither"),
            ("192.0.2.7/24\n", "has bits behind its prefix"),
            ("192.0.2.7 192.0.2.8\n", "a line has one network"),
            ("client \n", "line 1: client is followed by"),
            ("client\n", "line 1: \"client\" is neither"),
            ("::ffff:0.0.0.0/90\n", "behind its prefix"),
        ] {
            let error = BanList::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
        assert!(BanList::parse("# nobody\n").unwrap().is_empty(), "somebody has said so");
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let line = |n: usize| format!("client {n}\n");
        let full: String = (0..BAN_LIST_MAX).map(line).collect();
        assert_eq!(BanList::parse(&full).unwrap().len(), BAN_LIST_MAX);
        assert_eq!(BanList::parse(&(full + "client more\n")), Err(BanListError::TooMany));
    }
}
