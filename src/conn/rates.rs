//! How often connections come.
//!
//! A rate is one number, the time at which the next connection would be exactly on schedule (the generic cell rate algorithm of
//! ATM): it moves on by an interval with each, and whoever would be more than a second ahead of it is refused. Addresses share
//! cells of a table by two keyed hashes each, and one counts as too fast only if both of its cells are (a count-min sketch of rates).
//! What is kept about addresses is the same for one and for a billion.

use core::net::IpAddr;
use std::hash::Hasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

use crate::ids::NameKey;
use crate::limits::ADDRESS_RATE_CELLS;
use crate::time::Now;

/// How far ahead of its schedule a rate may be: a second's connections at once.
const BURST_NS: u64 = 1_000_000_000;
/// Bits of an address that count: the rest a client of IPv6 may choose.
const SOURCE_PREFIX_V6: u32 = 64;

/// How often peers have connected, for all shards of a process.
#[derive(Debug)]
pub struct ConnectRates {
    /// When the next connection of each would be on schedule, in monotonic nanoseconds.
    listeners: Box<[AtomicU64]>,
    /// The same of addresses, in two rows; there are none until a listener has a rate per address.
    addresses: OnceLock<Box<[AtomicU64]>>,
    key: NameKey,
}

impl ConnectRates {
    /// For so many listeners; addresses are hashed under `key`, which is secret. It holds nothing about them yet.
    pub fn new(listeners: usize, key: NameKey) -> Self {
        Self { listeners: cells(listeners), addresses: OnceLock::new(), key }
    }

    /// Addresses count from now on: a listener has a rate for each.
    pub fn count_addresses(&self) {
        self.addresses.get_or_init(|| cells(ADDRESS_RATE_CELLS));
    }

    /// Nobody is too fast.
    pub fn none() -> Self {
        Self::new(0, NameKey { first: 0, second: 0 })
    }

    /// Counts a connection of a listener with this rate a second, unless it is too many.
    pub(super) fn admits(&self, now: Now, listener: u8, rate: u32) -> bool {
        let Some(cell) = self.listeners.get(usize::from(listener)) else { return true };
        let advance = |on_schedule| next(on_schedule, now, rate);
        cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).is_ok()
    }

    /// The same of one address.
    pub(super) fn admits_address(&self, now: Now, listener: u8, address: IpAddr, rate: u32) -> bool {
        let Some(cells) = self.cells(listener, address) else { return true };
        let earliest = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or_default();
        let Some(advanced) = next(earliest, now, rate) else { return false };
        // A cell that others have moved further on stays where it is.
        for cell in cells {
            cell.fetch_max(advanced, Ordering::Relaxed);
        }
        true
    }

    fn cells(&self, listener: u8, address: IpAddr) -> Option<[&AtomicU64; 2]> {
        let addresses = self.addresses.get()?;
        let row = addresses.len() / 2;
        let mut hasher = SipHasher13::new_with_keys(self.key.first, self.key.second);
        hasher.write_u8(listener);
        match address.to_canonical() {
            IpAddr::V4(v4) => hasher.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => hasher.write_u64((v6.to_bits() >> SOURCE_PREFIX_V6) as u64),
        }
        let hash = hasher.finish();
        let at = |hash: u32| (hash as usize).checked_rem(row);
        let (first, second) = (at(hash as u32)?, row + at((hash >> 32) as u32)?);
        Some([addresses.get(first)?, addresses.get(second)?])
    }
}

fn cells(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// When the next connection is on schedule after one more has come; `None` if that one is too early.
fn next(on_schedule_ns: u64, now: Now, rate: u32) -> Option<u64> {
    let interval_ns = BURST_NS / u64::from(rate.max(1));
    let advanced = on_schedule_ns.max(now.mono_ns).saturating_add(interval_ns);
    (advanced - now.mono_ns <= BURST_NS).then_some(advanced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HashKeys;

    fn at(ms: u64) -> Now {
        Now { mono_ns: 7_000_000_000 + ms * 1_000_000, unix_ms: 0 }
    }

    fn rates() -> ConnectRates {
        let rates = ConnectRates::new(2, HashKeys::from(1).names);
        rates.count_addresses();
        rates
    }

    #[test]
    fn a_second_s_connections_come_at_once_and_then_one_an_interval() {
        for rate in [1, 3, 100] {
            let rates = rates();
            let admitted = |ms| (0..1_000).filter(|_| rates.admits(at(ms), 0, rate)).count();
            assert_eq!(admitted(0), rate as usize);
            assert_eq!(admitted(1), usize::from(rate > 1000));
            assert_eq!(admitted(1_001), rate as usize, "it has rested for a second");
            let steady: usize = (0..10_000).map(|ms| usize::from(rates.admits(at(2_000 + ms), 0, rate))).sum();
            assert!(steady.abs_diff(10 * rate as usize) <= 2 + rate as usize, "{rate}: {steady}");
            assert!(rates.admits(at(1_001), 1, rate), "another listener");
        }
    }

    #[test]
    fn each_address_has_its_own_rate_and_a_client_of_ipv6_one_for_its_whole_network() {
        let rates = rates();
        let admitted =
            |address: &str| (0..10).filter(|_| rates.admits_address(at(0), 0, address.parse().unwrap(), 4)).count();
        assert_eq!(admitted("192.0.2.1"), 4);
        assert_eq!(admitted("192.0.2.1"), 0);
        assert_eq!(admitted("::ffff:192.0.2.1"), 0, "the same");
        assert_eq!(admitted("192.0.2.2"), 4);
        assert_eq!(admitted("2001:db8:0:1::1"), 4);
        assert_eq!(admitted("2001:db8:0:1:ffff::9"), 0, "the same /64");
        assert_eq!(admitted("2001:db8:0:2::1"), 4);
        assert!(rates.admits_address(at(0), 1, "192.0.2.1".parse().unwrap(), 4), "by another listener");
        let none = ConnectRates::new(1, HashKeys::from(1).names);
        assert!(none.addresses.get().is_none() && none.admits_address(at(0), 0, "192.0.2.1".parse().unwrap(), 1));
    }

    #[test]
    fn a_thousand_addresses_at_their_limit_keep_out_hardly_anybody_else() {
        let rates = rates();
        assert_eq!(rates.addresses.get().unwrap().len(), ADDRESS_RATE_CELLS);
        let address = |number: u32| IpAddr::V4(number.into());
        for number in 0..1_000 {
            while rates.admits_address(at(0), 0, address(0x0a00_0000 + number), 5) {}
        }
        let kept_out =
            (0..10_000).filter(|number| !rates.admits_address(at(0), 0, address(0xc000_0000 + number), 1_000_000));
        assert!(kept_out.count() <= 30, "one in a thousand, and some luck");
    }
}
