//! Rules broken on purpose, in the simulator's own mesh and pipes: a run that does not notice proves nothing.

use dunlin::codec::{Packet, Side, Version, decode, frame};
use dunlin::ids::Qos;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Canary {
    #[default]
    None,
    /// Every 1,000th message between shards is lost.
    LoseMeshMessage,
    /// Every 200th QoS 1 or 2 PUBLISH carries the identifier of the one before it.
    ReusePacketId,
    /// Every 100th QoS 2 PUBLISH is delivered a second time, as another exchange.
    RepeatQos2,
    /// Acknowledgements do not wait for the store.
    StoreLies,
}

#[derive(Debug, Default)]
pub(crate) struct Cage {
    pub(crate) canary: Canary,
    count: u64,
    last_id: Option<[u8; 2]>,
}

impl Cage {
    pub(crate) const fn new(canary: Canary) -> Self {
        Self { canary, count: 0, last_id: None }
    }

    /// Whether the mesh loses the next message.
    pub(crate) fn loses_message(&mut self) -> bool {
        self.canary == Canary::LoseMeshMessage && self.turn(1_000)
    }

    /// What becomes of a packet on its way to a client's socket.
    pub(crate) fn pass(&mut self, version: Version, packet: Vec<u8>) -> Vec<Vec<u8>> {
        if !matches!(self.canary, Canary::ReusePacketId | Canary::RepeatQos2) {
            return vec![packet];
        }
        let Some((qos, at)) = packet_id_at(version, &packet) else { return vec![packet] };
        let id = [packet[at], packet[at + 1]];
        let mut packets = vec![packet];
        if self.canary == Canary::ReusePacketId {
            if let Some(last_id) = self.last_id.replace(id)
                && self.turn(200)
            {
                packets[0][at..at + 2].copy_from_slice(&last_id);
            }
        } else if qos == Qos::ExactlyOnce && self.turn(100) {
            let mut copy = packets[0].clone();
            copy[at] |= 0x40; // an identifier that is not in use yet
            packets.push(copy);
        }
        packets
    }

    const fn turn(&mut self, every: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(every)
    }
}

/// QoS of a new message with an identifier, and where that stands.
fn packet_id_at(version: Version, packet: &[u8]) -> Option<(Qos, usize)> {
    let (frame, len) = frame::next(packet, u32::MAX).ok()??;
    let Packet::Publish(publish) = decode(frame, version, Side::Client).ok()? else { return None };
    publish.packet_id.filter(|_| !publish.dup)?;
    Some((publish.qos, len - frame.body.len() + 2 + publish.topic.len()))
}
