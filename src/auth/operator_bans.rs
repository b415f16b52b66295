//! Whom an operator has banned: client ids and networks, each for a time or until the process ends.
//!
//! Always holds: there are [`OPERATOR_BANS_MAX`] at most; one that has run out bans nobody, and gives way to a new one. A list is made anew for
//! each change and shared by those who ask it.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::limits::OPERATOR_BANS_MAX;
use crate::time::Timestamp;

/// What tells those apart who are not let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BannedWho {
    /// Whoever says this client id, from wherever.
    ClientId(Box<str>),
    /// Whoever comes from these addresses: the first of them, and how many bits they have in common.
    Network(IpAddr, u8),
}

/// How long somebody is not let in, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorBan {
    /// When it ends; `None` lasts as long as the process.
    pub until: Option<Timestamp>,
    /// Why, in the operator's words.
    pub reason: Box<str>,
}

impl OperatorBan {
    fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorBans(BTreeMap<BannedWho, OperatorBan>);

impl OperatorBans {
    /// Whether a client that comes in now is banned.
    pub fn has(&self, now: Timestamp, client_id: &str, peer: Option<IpAddr>) -> bool {
        let by_id = self.0.get(&BannedWho::ClientId(client_id.into()));
        by_id.is_some_and(|ban| !ban.has_ended(now)) || peer.is_some_and(|peer| self.has_address(now, peer))
    }

    /// Whether whoever comes from this address now is banned, whatever it is called.
    pub fn has_address(&self, now: Timestamp, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let holds = |who: &BannedWho, ban: &OperatorBan| {
            matches!(who, BannedWho::Network(first, bits) if is_within(peer, *first, *bits)) && !ban.has_ended(now)
        };
        // Both kinds lie together, client ids first.
        let first_network = BannedWho::Network(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);
        self.0.range(first_network..).any(|(who, ban)| holds(who, ban))
    }

    /// Adds one, or changes it. False where there are as many as may be.
    pub fn add(&mut self, now: Timestamp, who: BannedWho, ban: OperatorBan) -> bool {
        if !self.0.contains_key(&who) && self.0.len() >= OPERATOR_BANS_MAX {
            self.0.retain(|_, ban| !ban.has_ended(now));
        }
        let has_room = self.0.contains_key(&who) || self.0.len() < OPERATOR_BANS_MAX;
        if has_room {
            self.0.insert(who, ban);
        }
        has_room
    }

    /// Takes one out. Returns whether it was there.
    pub fn remove(&mut self, who: &BannedWho) -> bool {
        self.0.remove(who).is_some()
    }

    /// Those that hold.
    pub fn iter(&self, now: Timestamp) -> impl Iterator<Item = (&BannedWho, &OperatorBan)> {
        self.0.iter().filter(move |(_, ban)| !ban.has_ended(now))
    }

    /// Whether there is none, run out or not.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_within(address: IpAddr, first: IpAddr, bits: u8) -> bool {
    let same = |left: u128, right: u128, width: u32| {
        let shift = width.saturating_sub(u32::from(bits));
        left.checked_shr(shift).unwrap_or(0) == right.checked_shr(shift).unwrap_or(0)
    };
    match (address, first) {
        (IpAddr::V4(left), IpAddr::V4(right)) => same(left.to_bits().into(), right.to_bits().into(), 32),
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(until: Option<u64>) -> OperatorBan {
        OperatorBan { until: until.map(Timestamp), reason: "x".into() }
    }

    #[test]
    fn a_client_id_and_a_network_are_banned_until_the_time_is_over_or_they_are_taken_out() {
        let mut bans = OperatorBans::default();
        let id = BannedWho::ClientId("evil".into());
        let networks = ["192.0.2.0", "2001:db8::"].map(|first| first.parse().unwrap());
        assert!(bans.add(Timestamp(0), id.clone(), ban(Some(100))));
        assert!(bans.add(Timestamp(0), BannedWho::Network(networks[0], 24), ban(None)));
        assert!(bans.add(Timestamp(0), BannedWho::Network(networks[1], 32), ban(None)));
        let has = |bans: &OperatorBans, now, id, peer: &str| bans.has(Timestamp(now), id, peer.parse().ok());
        assert!(has(&bans, 99, "evil", "") && !has(&bans, 100, "evil", "") && !has(&bans, 0, "evi", ""));
        for (peer, expected) in [
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(has(&bans, 500, "good", peer), expected, "{peer}");
        }
        let has_address = |now, peer: &str| bans.has_address(Timestamp(now), peer.parse().unwrap());
        assert!(has_address(0, "192.0.2.9") && has_address(0, "::ffff:192.0.2.9") && !has_address(0, "192.0.3.0"));
        assert!(bans.add(Timestamp(0), BannedWho::Network(networks[0], 0), ban(Some(9))));
        assert!(has(&bans, 0, "good", "8.8.8.8") && !has(&bans, 0, "good", "2001:db9::"), "0 bits are all of a family");
        assert_eq!(bans.iter(Timestamp(200)).count(), 2);
        assert!(
            bans.remove(&BannedWho::Network(networks[0], 24)) && !bans.remove(&BannedWho::Network(networks[0], 24))
        );
        assert!(!has(&bans, 500, "good", "192.0.2.1"));
    }

    #[test]
    fn there_are_so_many_and_no_more_but_for_those_that_have_run_out() {
        let mut bans = OperatorBans::default();
        let id = |n: usize| BannedWho::ClientId(n.to_string().into());
        for n in 0..OPERATOR_BANS_MAX {
            assert!(bans.add(Timestamp(0), id(n), ban((n == 0).then_some(10))));
        }
        assert!(!bans.add(Timestamp(5), id(OPERATOR_BANS_MAX), ban(None)));
        assert!(bans.add(Timestamp(5), id(1), ban(Some(7))), "one that is there is changed");
        assert!(bans.add(Timestamp(10), id(OPERATOR_BANS_MAX), ban(None)), "one has run out");
        assert!(bans.0.len() <= OPERATOR_BANS_MAX);
    }
}
