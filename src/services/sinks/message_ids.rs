//! Ids of messages: the same again when a message is sent again, so that a target can know it.
//!
//! Always holds: two messages never have the same id: a session gives packet identifiers out in turn, the laps are counted, and whoever
//! counts anew, after a restart or a reload of the sink's table, has a key of its own. So what was on its way then has another id when it is sent
//! again: a target may have it twice, but takes no new message for one that it has.
//! Leaves to others: what a target does with an id.

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
    /// That of the message that was sent for the first time last.
    newest: Option<u16>,
    /// Of QoS 0: none is sent again.
    without_packet_id: u64,
}

impl MessageIds {
    /// Counts anew. `key` is a random number.
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key, lap: 0, newest: None, without_packet_id: 0 }
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
        let Some(newest) = self.newest else {
            if !is_repeated {
                self.newest = Some(packet_id);
            }
            return self.lap;
        };
        if is_repeated {
            // It was sent before the newest one: with a larger identifier in the lap before.
            return if packet_id > newest { self.lap.wrapping_sub(1) } else { self.lap };
        }
        if packet_id <= newest {
            self.lap += 1;
        }
        self.newest = Some(packet_id);
        self.lap
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
    fn what_is_new_after_a_restart_has_an_id_of_its_own() {
        let (mut before, mut after) = (MessageIds::new([1; 16]), MessageIds::new([2; 16]));
        assert_ne!(before.of(&publish(1, false)), after.of(&publish(1, false)));
    }
}
