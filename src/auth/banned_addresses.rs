//! Addresses that `ban_after` has banned, for shards that look before a TLS handshake is paid for.
//!
//! Always holds: one thread writes, every shard reads and none waits; what is read may be a moment old, which the authenticator makes good: it
//! is asked again with CONNECT. There are no more than it remembers ([`crate::limits::BANS_MAX`]).

use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug, Default)]
pub struct BannedAddresses(ArcSwap<BTreeMap<IpAddr, Deadline>>);

impl BannedAddresses {
    /// These from now on, each until then, as [`suspect_of`] says them.
    pub fn replace(&self, addresses: BTreeMap<IpAddr, Deadline>) {
        self.0.store(Arc::new(addresses));
    }

    /// Whether a ban of this address holds.
    pub fn has(&self, now: Now, address: IpAddr) -> bool {
        let addresses = self.0.load();
        !addresses.is_empty() && addresses.get(&suspect_of(address)).is_some_and(|until| !until.is_due(now))
    }
}

/// What counts of an address: the first 64 bits of IPv6, which one subscriber has whole.
pub(super) fn suspect_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}
