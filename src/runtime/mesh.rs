//! Between shards: one bounded channel per pair, batches, one wake per turn and target.
//!
//! Always holds: messages of one shard to another arrive in the order they were pushed; a full channel never blocks a
//! core; nothing is lost while the process lives. What does not fit waits in the sender's [`MeshOut`], and the pump stops
//! receiving from its own publishers before that becomes much ([`Port::waiting`]). Empty batches go back to who filled
//! them, so that a core seldom frees what another has allocated. What waits in a [`MeshOut`] for a number behind the shards' is for another node's
//! process, and is left to its link.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::conn::Handover;
use crate::ids::ShardId;
use crate::limits::MESH_CHANNEL_BATCHES;
use crate::shard::{MeshBatch, MeshOut};

/// What one shard's thread says to another's.
#[derive(Debug)]
pub(super) struct Batch {
    /// From core to core.
    pub shard: MeshBatch,
    /// From edge to edge. They come behind what the core said later in the same turn, which does not matter: it has
    /// nothing to say of a connection that another shard has not been given yet.
    pub handovers: Vec<Handover>,
}

/// Messages that an empty batch keeps room for at most: with many shards there are thousands of lanes.
const KEPT_MESSAGES: usize = 256;
/// The same in bytes of messages.
const KEPT_BYTES: usize = 32 * 1024;
/// Empty batches on their way back to a sender.
const SPARE_BATCHES: usize = 2;

/// One shard's end of the mesh.
pub(super) struct Port {
    /// By shard; none to itself.
    to: Vec<Option<Lane>>,
    /// By shard; none from itself.
    from: Vec<Option<Incoming>>,
}

struct Lane {
    sender: Sender<Batch>,
    spare: Receiver<MeshBatch>,
    handovers: Vec<Handover>,
}

struct Incoming {
    receiver: Receiver<Batch>,
    spare: Sender<MeshBatch>,
}

/// Channels between all pairs of `shards` shards, one port for each.
pub(super) fn ports(shards: usize) -> Vec<Port> {
    let mut ports: Vec<Port> = (0..shards).map(|_| Port { to: Vec::new(), from: Vec::new() }).collect();
    for from in 0..shards {
        for to in 0..shards {
            let (lane, source) = (from != to).then(lane).unzip();
            ports[from].to.push(lane);
            ports[to].from.push(source);
        }
    }
    ports
}

fn lane() -> (Lane, Incoming) {
    let (sender, receiver) = bounded(MESH_CHANNEL_BATCHES);
    let (spare_sender, spare) = bounded(SPARE_BATCHES);
    (Lane { sender, spare, handovers: Vec::new() }, Incoming { receiver, spare: spare_sender })
}

impl Port {
    /// Puts a connection into the next batch for `shard`.
    pub(super) fn hand_over(&mut self, shard: ShardId, handover: Handover) {
        let lane = self.to[shard.index()].as_mut().expect("a shard hands nothing over to itself");
        lane.handovers.push(handover);
    }

    /// Sends what waits here and in `mesh`, as far as the channels have room; `wake` is to wake whom it was sent to.
    pub(super) fn flush(&mut self, mesh: &mut MeshOut, mut wake: impl FnMut(ShardId)) {
        for (shard, lane) in self.to.iter_mut().enumerate() {
            let shard = ShardId(shard as u8);
            let Some(lane) = lane else {
                assert!(mesh.to(shard).messages.is_empty(), "a shard sends itself no messages");
                continue;
            };
            let waiting = mesh.to(shard);
            if waiting.messages.is_empty() && lane.handovers.is_empty() || lane.sender.is_full() {
                continue;
            }
            let next = lane.spare.try_recv().unwrap_or_default();
            let batch =
                Batch { shard: std::mem::replace(waiting, next), handovers: std::mem::take(&mut lane.handovers) };
            match lane.sender.try_send(batch) {
                Ok(()) => wake(shard),
                Err(TrySendError::Full(_)) => unreachable!("nobody else fills this channel"),
                // The other shard has drained its clients and stopped: the process is stopping.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// The next batch from any shard. To be given back when it has been read.
    pub(super) fn next_batch(&mut self) -> Option<(ShardId, Batch)> {
        let mut sources = self.from.iter().enumerate();
        sources.find_map(|(shard, source)| Some((ShardId(shard as u8), source.as_ref()?.receiver.try_recv().ok()?)))
    }

    /// Returns the memory of a batch that has been read to the shard that it came `from`.
    pub(super) fn give_back(&mut self, from: ShardId, mut batch: MeshBatch) {
        let source = self.from[from.index()].as_ref().expect("a shard hears nothing from itself");
        batch.clear(KEPT_MESSAGES, KEPT_BYTES);
        // If it has enough of them, or has stopped, it is freed here.
        let _ = source.spare.try_send(batch);
    }

    /// Most that waits for one shard, here and in `mesh`: messages and connections.
    pub(super) fn waiting(&self, mesh: &MeshOut) -> usize {
        let lanes = self.to.iter().enumerate().filter_map(|(shard, lane)| Some((ShardId(shard as u8), lane.as_ref()?)));
        lanes.map(|(shard, lane)| mesh.waiting_for(shard) + lane.handovers.len()).max().unwrap_or(0)
    }

    /// Whether there is nothing to receive.
    pub(super) fn is_quiet(&self) -> bool {
        self.from.iter().flatten().all(|source| source.receiver.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ticket;
    use crate::shard::MeshMessage;

    /// The ends of a sender and of a receiver.
    fn pair() -> (Port, Port) {
        let mut ports = ports(2);
        let receiver = ports.pop().unwrap();
        (ports.pop().unwrap(), receiver)
    }

    fn numbers(port: &mut Port) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some((from, batch)) = port.next_batch() {
            numbers.extend(batch.shard.messages.iter().map(|message| match message {
                MeshMessage::Applied { number } => *number,
                other => panic!("{other:?}"),
            }));
            port.give_back(from, batch.shard);
        }
        numbers
    }

    #[test]
    fn a_full_channel_keeps_order_and_loses_nothing() {
        let (mut sender, mut receiver) = pair();
        let mut mesh = MeshOut::default();
        let count = 2 * MESH_CHANNEL_BATCHES as u64;
        let mut woken = 0;
        for number in 0..count {
            mesh.to(ShardId(1)).messages.push(MeshMessage::Applied { number });
            sender.flush(&mut mesh, |shard| {
                assert_eq!(shard, ShardId(1));
                woken += 1;
            });
        }
        assert_eq!(woken, MESH_CHANNEL_BATCHES, "once for each batch that was sent");
        assert_eq!(sender.waiting(&mesh), MESH_CHANNEL_BATCHES, "the channel took one batch each");
        let mut seen = numbers(&mut receiver);
        sender.flush(&mut mesh, |_| ());
        assert_eq!(sender.waiting(&mesh), 0);
        assert!(!receiver.is_quiet());
        seen.extend(numbers(&mut receiver));
        assert_eq!(seen, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_for_a_peer_of_a_cluster_waits_for_its_link_and_holds_nobody() {
        let (mut sender, mut receiver) = pair();
        let mut mesh = MeshOut::default();
        for shard in [1, 2, 63] {
            mesh.to(ShardId(shard)).messages.push(MeshMessage::Applied { number: shard.into() });
        }
        assert_eq!(sender.waiting(&mesh), 1);
        sender.flush(&mut mesh, |shard| assert_eq!(shard, ShardId(1)));
        assert_eq!((numbers(&mut receiver), sender.waiting(&mesh)), (vec![1], 0));
        assert_eq!(mesh.batches().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [2, 63]);
    }

    #[test]
    fn connections_that_wait_count_like_messages() {
        let (mut sender, mut receiver) = pair();
        let mut mesh = MeshOut::default();
        for bits in 0..3 {
            sender.hand_over(ShardId(1), Handover::Failed { ticket: Ticket::new(bits) });
        }
        mesh.to(ShardId(1)).messages.push(MeshMessage::Applied { number: 0 });
        assert_eq!(sender.waiting(&mesh), 4);
        sender.flush(&mut mesh, |_| ());
        assert_eq!(sender.waiting(&mesh), 0);
        let (_, batch) = receiver.next_batch().unwrap();
        assert_eq!((batch.shard.messages.len(), batch.handovers.len()), (1, 3));
    }

    #[test]
    fn a_batch_comes_back_to_be_filled_again_without_what_a_storm_took() {
        let (mut sender, mut receiver) = pair();
        let mut mesh = MeshOut::default();
        for (messages, bytes) in [(10, 1_000), (100 * KEPT_MESSAGES, 100 * KEPT_BYTES)] {
            let batch = mesh.to(ShardId(1));
            batch.messages.extend((0..messages).map(|number| MeshMessage::Applied { number: number as u64 }));
            batch.bytes.resize(bytes, 0);
            sender.flush(&mut mesh, |_| ());
            let (from, batch) = receiver.next_batch().unwrap();
            assert_eq!((from, batch.shard.messages.len()), (ShardId(0), messages));
            let memory = batch.shard.messages.as_ptr();
            receiver.give_back(from, batch.shard);
            // What is sent now leaves the spare batch behind, to be filled.
            mesh.to(ShardId(1)).messages.push(MeshMessage::Applied { number: 0 });
            sender.flush(&mut mesh, |_| ());
            let next = mesh.to(ShardId(1));
            assert!(next.messages.is_empty() && next.bytes.is_empty());
            assert!(next.messages.capacity() >= messages.min(KEPT_MESSAGES), "it is the same memory");
            assert!(next.messages.capacity() <= KEPT_MESSAGES && next.bytes.capacity() <= KEPT_BYTES);
            assert!(messages > KEPT_MESSAGES || next.messages.as_ptr() == memory);
            drop(receiver.next_batch());
        }
    }
}
