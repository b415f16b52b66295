//! Ids of messages: the same again when a message is sent again, so that a target can know it.
//!
//! Always holds: two messages never have the same id: a session gives packet identifiers out in turn, the laps are counted, and whoever
//! counts anew, after a restart or a reload of the sink's table, has a key of its own. So what was on its way then has another id when it is sent
//! again: a target may have it twice, but takes no new message for one that it has.
//! Leaves to others: what a target does with an id.

use std::collections::HashMap;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::services::local::OwnedPublish;

/// Of one session.
#[derive(Clone, Debug)]
pub(super) struct MessageIds {
    /// By chance: no two of them count alike.
    key: [u8; 16],
    /// How often the packet identifiers have begun again since then.
    lap: u64,
    /// That of the message that came for the first time last.
    newest: Option<u16>,
    /// In which lap a packet identifier came last.
    laps: HashMap<u16, u64>,
    /// Of QoS 0: none is sent again.
    without_packet_id: u64,
}

impl MessageIds {
    /// Counts anew. `key` is a random number.
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { key, lap: 0, newest: None, laps: HashMap::new(), without_packet_id: 0 }
    }

    /// That of a message.
    pub(super) fn of(&mut self, publish: &OwnedPublish) -> u128 {
        let (packet_id, lap) = match publish.packet_id {
            None => {
                self.without_packet_id += 1;
                (0, self.without_packet_id)
            }
            Some(packet_id) => (packet_id.get(), self.lap_of(packet_id.get(), publish.dup)),
        };
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(lap);
        hasher.write_u16(packet_id);
        for part in [publish.topic.as_bytes(), &publish.properties, &publish.payload] {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    fn lap_of(&mut self, packet_id: u16, is_repeated: bool) -> u64 {
        let known = self.laps.get(&packet_id).copied();
        if let (true, Some(lap)) = (is_repeated, known)
            && !self.is_ahead(packet_id)
        {
            return lap;
        }
        // It comes for the first time, whatever it says: it was sent before, and not read before the connection ended.
        if self.newest.is_some_and(|newest| packet_id <= newest) {
            self.lap += 1;
        }
        self.newest = Some(packet_id);
        self.laps.insert(packet_id, self.lap);
        self.lap
    }

    /// Whether a packet identifier comes after the newest one, and not before it, as far as that can be told: in the half of the circle
    /// that begins there.
    fn is_ahead(&self, packet_id: u16) -> bool {
        self.newest.is_some_and(|newest| packet_id != newest && packet_id.wrapping_sub(newest) < u16::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PacketId;

    fn publish(packet_id: u16, dup: bool) -> OwnedPublish {
        let mut publish = OwnedPublish::new("t", "same");
        publish.packet_id = PacketId::new(packet_id);
        publish.dup = dup;
        publish
    }

    #[test]
    fn what_is_sent_again_has_its_id_again_and_nothing_else_has() {
        let mut ids = MessageIds::new([1; 16]);
        let sent: Vec<u128> = [65_533, 65_534, 65_535, 1, 2].map(|id| ids.of(&publish(id, false))).to_vec();
        let again: Vec<u128> = [65_533, 65_534, 65_535, 1, 2].map(|id| ids.of(&publish(id, true))).to_vec();
        assert_eq!(sent, again);
        let next: Vec<u128> = [65_533, 65_534, 1].map(|id| ids.of(&publish(id, false))).to_vec();
        let all: std::collections::BTreeSet<u128> = sent.iter().chain(&next).copied().collect();
        assert_eq!(all.len(), sent.len() + next.len());
        let qos0 = [ids.of(&publish(0, false)), ids.of(&publish(0, false))];
        assert_ne!(qos0[0], qos0[1]);
    }

    #[test]
    fn what_was_sent_and_not_read_before_the_connection_ended_is_new() {
        let mut ids = MessageIds::new([1; 16]);
        let first: Vec<u128> = (1..=u16::MAX).map(|id| ids.of(&publish(id, false))).collect();
        let newest = [1, 2].map(|id| ids.of(&publish(id, false)));
        // The connection ends: 3 and 4 were sent, and are read now for the first time, with DUP; 1 and 2 come again.
        let again = [1, 2, 3, 4].map(|id| ids.of(&publish(id, true)));
        assert_eq!(again[..2], newest);
        assert!(!first.contains(&again[2]) && !first.contains(&again[3]));
        let third = [3, 4].map(|id| ids.of(&publish(id, true)));
        assert_eq!(third, again[2..], "they have their ids again from then on");
        assert!(!first.contains(&ids.of(&publish(5, false))));
        // One that is held since the lap before, with an identifier that this lap leaves out.
        let mut ids = MessageIds::new([1; 16]);
        let held = ids.of(&publish(7, false));
        for id in (8..=u16::MAX).chain(1..7).chain(8..20) {
            ids.of(&publish(id, false));
        }
        assert_eq!(ids.of(&publish(7, true)), held);
        let mut unread = MessageIds::new([1; 16]);
        assert_ne!(unread.of(&publish(1, true)), unread.of(&publish(2, true)), "nothing but repetitions");
    }

    #[test]
    fn what_is_new_after_a_restart_has_an_id_of_its_own() {
        let (mut before, mut after) = (MessageIds::new([1; 16]), MessageIds::new([2; 16]));
        assert_ne!(before.of(&publish(1, false)), after.of(&publish(1, false)));
    }
}
