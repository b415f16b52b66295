//! The numbers one shard keeps. Counters only grow; gauges are read off the state when they are shown.

use std::ops::{Deref, DerefMut};

use super::{CloseReason, DropReason, PauseReason};

/// One count for each reason, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsByReason<const N: usize>([u64; N]);

impl<const N: usize> CountsByReason<N> {
    /// Counts one more for the reason with this number.
    #[inline]
    pub const fn count(&mut self, reason: usize) {
        self.0[reason] += 1;
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

impl<const N: usize> Default for CountsByReason<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Deref for CountsByReason<N> {
    type Target = [u64; N];

    fn deref(&self) -> &[u64; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for CountsByReason<N> {
    fn deref_mut(&mut self) -> &mut [u64; N] {
        &mut self.0
    }
}

/// What has happened on one shard since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of any kind from clients.
    pub packets_received: u64,
    /// Packets of any kind to clients.
    pub packets_sent: u64,
    /// PUBLISH packets from clients.
    pub publish_received: u64,
    /// PUBLISH packets to clients.
    pub publish_sent: u64,
    /// Payload bytes of PUBLISH packets from clients.
    pub publish_bytes_received: u64,
    /// Payload bytes of PUBLISH packets to clients.
    pub publish_bytes_sent: u64,
    /// CONNECTs answered with success.
    pub connections: u64,
    /// Sessions ended because nobody came back in time.
    pub sessions_expired: u64,
    /// Messages to other shards.
    pub mesh_sent: u64,
    /// Dropped messages by reason.
    pub drops: CountsByReason<{ DropReason::COUNT }>,
    /// Ended connections by reason.
    pub closes: CountsByReason<{ CloseReason::COUNT }>,
    /// Pauses of clients by the rate that they were over.
    pub pauses: CountsByReason<{ PauseReason::COUNT }>,
}

impl Counters {
    /// Counts one dropped message.
    pub const fn dropped(&mut self, reason: DropReason) {
        self.drops.count(reason as usize);
    }

    /// Counts one ended connection.
    pub const fn closed(&mut self, reason: CloseReason) {
        self.closes.count(reason as usize);
    }

    /// Counts one pause of a client.
    pub const fn paused(&mut self, reason: PauseReason) {
        self.pauses.count(reason as usize);
    }

    /// Messages dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        self.packets_received += other.packets_received;
        self.packets_sent += other.packets_sent;
        self.publish_received += other.publish_received;
        self.publish_sent += other.publish_sent;
        self.publish_bytes_received += other.publish_bytes_received;
        self.publish_bytes_sent += other.publish_bytes_sent;
        self.connections += other.connections;
        self.sessions_expired += other.sessions_expired;
        self.mesh_sent += other.mesh_sent;
        self.drops.add(&other.drops);
        self.closes.add(&other.closes);
        self.pauses.add(&other.pauses);
    }
}

/// What has happened on one shard's sockets since it started, beside what its clients said: counted by whoever moves
/// the bytes, and told to the shard with each tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    /// Bytes taken from sockets.
    pub bytes_received: u64,
    /// Bytes given to sockets.
    pub bytes_sent: u64,
    /// Sockets accepted.
    pub sockets: u64,
    /// Connections that ended before a shard knew them, by reason.
    pub closes: CountsByReason<{ CloseReason::COUNT }>,
}

impl TransportCounters {
    /// Counts one connection that ended before a shard knew it.
    pub const fn closed(&mut self, reason: CloseReason) {
        self.closes.count(reason as usize);
    }

    /// Adds what another shard's sockets counted.
    pub fn add(&mut self, other: &Self) {
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.sockets += other.sockets;
        self.closes.add(&other.closes);
    }
}

/// What one shard holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions with a connection.
    pub clients_connected: u64,
    /// Sessions that wait for their client.
    pub clients_disconnected: u64,
    /// Subscriptions, shared ones included.
    pub subscriptions: u64,
    /// Those of them that are members of a `$share` group.
    pub shared_subscriptions: u64,
    /// Retained messages (every shard holds them all).
    pub retained_messages: u64,
    /// Messages queued or in flight to clients.
    pub stored_messages: u64,
    /// Topic, properties and payload of those.
    pub stored_bytes: u64,
    /// Messages queued that are on disk alone.
    pub stored_on_disk: u64,
    /// Shards whose log has no room for what is to be kept.
    pub logs_short: u64,
}

impl Gauges {
    /// Adds what another shard holds. Retained messages are the same ones everywhere and are not added.
    pub fn add(&mut self, other: &Self) {
        self.clients_connected += other.clients_connected;
        self.clients_disconnected += other.clients_disconnected;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.retained_messages = self.retained_messages.max(other.retained_messages);
        self.stored_messages += other.stored_messages;
        self.stored_bytes += other.stored_bytes;
        self.stored_on_disk += other.stored_on_disk;
        self.logs_short += other.logs_short;
    }
}

/// All the numbers of one shard, or of several added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What has happened.
    pub counters: Counters,
    /// What has happened on its sockets.
    pub transport: TransportCounters,
    /// What is held now.
    pub gauges: Gauges,
}

impl Report {
    /// Connections that ended for this reason before CONNACK had let their client in.
    pub fn refused(&self, reason: CloseReason) -> u64 {
        let by_shards = match reason {
            CloseReason::Refused | CloseReason::ConnectionsFull => self.counters.closes[reason as usize],
            _ => 0,
        };
        self.transport.closes[reason as usize] + by_shards
    }

    /// Connections of clients that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.counters.closes[reason as usize]
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.transport.add(&other.transport);
        self.gauges.add(&other.gauges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_two_shards_keeps_every_reason_apart() {
        let mut left = Counters::default();
        left.dropped(DropReason::QueueFull);
        let mut right = Counters { publish_received: 2, ..Counters::default() };
        right.dropped(DropReason::QueueFull);
        right.dropped(DropReason::Expired);
        right.closed(CloseReason::Malformed);
        left.add(&right);
        assert_eq!(left.drops[DropReason::QueueFull as usize], 2);
        assert_eq!(left.drops[DropReason::Expired as usize], 1);
        assert_eq!(left.closes[CloseReason::Malformed as usize], 1);
        assert_eq!((left.publish_received, left.dropped_total()), (2, 3));
    }
}
