//! Between shards: one bounded channel per pair, batches, one wake per turn and target.
//!
//! Always holds: messages of one shard to another arrive in the order they were pushed; a full channel never blocks a
//! core; nothing is lost while the process lives. What does not fit waits here, and [`Port::waiting`] tells the pump to
//! stop receiving from its own publishers before that becomes much.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::ids::ShardId;
use crate::limits::MESH_CHANNEL_BATCHES;
use crate::net::Handover;
use crate::shard::MeshMessage;

/// What one shard's thread says to another's.
#[derive(Debug)]
pub enum Envelope {
    /// From core to core.
    Shard(MeshMessage),
    /// From edge to edge.
    Handover(Handover),
}

type Batch = Vec<Envelope>;

/// Messages that a new batch has room for at most: with many shards there are thousands of lanes.
const KEPT_CAPACITY: usize = 256;

/// One shard's end of the mesh.
pub struct Port {
    to: Vec<Lane>,
    from: Vec<(ShardId, Receiver<Batch>)>,
}

struct Lane {
    /// `None` towards itself.
    sender: Option<Sender<Batch>>,
    waiting: Batch,
}

/// Channels between all pairs of `shards` shards, one port for each.
pub fn ports(shards: usize) -> Vec<Port> {
    let mut ports: Vec<Port> = (0..shards).map(|_| Port { to: Vec::new(), from: Vec::new() }).collect();
    for from in 0..shards {
        for to in 0..shards {
            let sender = (from != to).then(|| {
                let (sender, receiver) = bounded(MESH_CHANNEL_BATCHES);
                ports[to].from.push((ShardId(from as u8), receiver));
                sender
            });
            ports[from].to.push(Lane { sender, waiting: Vec::new() });
        }
    }
    ports
}

impl Port {
    /// Puts a message into the next batch for `shard`.
    pub fn push(&mut self, shard: ShardId, envelope: Envelope) {
        let lane = &mut self.to[shard.index()];
        assert!(lane.sender.is_some(), "a shard sends itself no messages");
        lane.waiting.push(envelope);
    }

    /// Sends what waits, as far as the channels have room; `wake` is to wake whom it was sent to.
    pub fn flush(&mut self, mut wake: impl FnMut(ShardId)) {
        for (shard, lane) in self.to.iter_mut().enumerate() {
            let Some(sender) = &lane.sender else { continue };
            if lane.waiting.is_empty() {
                continue;
            }
            // The next batch is likely to be as long; what a storm took is given back all the same.
            let next = Batch::with_capacity(lane.waiting.len().min(KEPT_CAPACITY));
            match sender.try_send(std::mem::replace(&mut lane.waiting, next)) {
                Ok(()) => wake(ShardId(shard as u8)),
                Err(TrySendError::Full(batch)) => lane.waiting = batch,
                // The other shard has drained its clients and stopped: the process is stopping.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// The next batch from any shard.
    pub fn next_batch(&mut self) -> Option<(ShardId, Batch)> {
        self.from.iter().find_map(|(shard, receiver)| Some((*shard, receiver.try_recv().ok()?)))
    }

    /// Most messages that wait for one shard.
    pub fn waiting(&self) -> usize {
        self.to.iter().map(|lane| lane.waiting.len()).max().unwrap_or(0)
    }

    /// Whether there is nothing to receive.
    pub fn is_quiet(&self) -> bool {
        self.from.iter().all(|(_, receiver)| receiver.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(number: u64) -> Envelope {
        Envelope::Shard(MeshMessage::Applied { number })
    }

    fn numbers(port: &mut Port) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some((_, batch)) = port.next_batch() {
            numbers.extend(batch.iter().map(|envelope| match envelope {
                Envelope::Shard(MeshMessage::Applied { number }) => *number,
                other => panic!("{other:?}"),
            }));
        }
        numbers
    }

    #[test]
    fn a_full_channel_keeps_order_and_loses_nothing() {
        let mut ports = ports(2);
        let mut receiver = ports.pop().unwrap();
        let mut sender = ports.pop().unwrap();
        let count = 2 * MESH_CHANNEL_BATCHES as u64;
        let mut woken = 0;
        for number in 0..count {
            sender.push(ShardId(1), applied(number));
            sender.flush(|shard| {
                assert_eq!(shard, ShardId(1));
                woken += 1;
            });
        }
        assert_eq!(woken, MESH_CHANNEL_BATCHES, "once for each batch that was sent");
        assert_eq!(sender.waiting(), MESH_CHANNEL_BATCHES, "the channel took one batch each");
        let mut seen = numbers(&mut receiver);
        sender.flush(|_| ());
        assert_eq!(sender.waiting(), 0);
        assert!(!receiver.is_quiet());
        seen.extend(numbers(&mut receiver));
        assert_eq!(seen, (0..count).collect::<Vec<_>>());
    }
}
