//! The numbers one shard keeps. Counters only grow; gauges are read off the state when they are shown.

use std::ops::{Deref, DerefMut};

use super::{CloseReason, DropReason, LoopFigures, MessageTimings, PauseReason, RequestRefusal};
use crate::limits::LISTENER_INDEXES_MAX;

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

/// One count for each listener, by its index, since it opened. The broker's own services come by none that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsByListener([u64; LISTENER_INDEXES_MAX]);

impl CountsByListener {
    /// Counts one more for a listener.
    pub fn count(&mut self, listener: u8) {
        if let Some(count) = self.0.get_mut(usize::from(listener)) {
            *count += 1;
        }
    }

    /// What was counted for a listener.
    pub fn of(&self, listener: u8) -> u64 {
        self.0.get(usize::from(listener)).copied().unwrap_or(0)
    }

    /// The index is another listener's from now on.
    fn begin_anew(&mut self, listener: u8) {
        if let Some(count) = self.0.get_mut(usize::from(listener)) {
            *count = 0;
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        add_each(&mut self.0, &other.0);
    }
}

impl Default for CountsByListener {
    fn default() -> Self {
        Self([0; LISTENER_INDEXES_MAX])
    }
}

/// Connections that ended, by listener and reason. Few of all pairs ever happen: they stand in the order in which they first did, and the
/// usual ones come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndsByListener(Vec<((u8, u8), u64)>);

impl EndsByListener {
    /// Counts one more. The broker's own services come by no listener that is counted.
    fn count(&mut self, listener: u8, reason: CloseReason) {
        if usize::from(listener) < LISTENER_INDEXES_MAX {
            self.add_to((listener, reason as u8), 1);
        }
    }

    fn add_to(&mut self, pair: (u8, u8), more: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == pair) {
            Some((_, count)) => *count += more,
            None => self.0.push((pair, more)),
        }
    }

    /// Those of a listener that have happened, in the order of their numbers.
    pub fn of(&self, listener: u8) -> impl Iterator<Item = (CloseReason, u64)> {
        let of_listener = self.0.iter().filter(|((known, _), _)| *known == listener);
        let mut found: Vec<_> =
            of_listener.map(|((_, reason), count)| (CloseReason::ALL[usize::from(*reason)], *count)).collect();
        found.sort_unstable_by_key(|(reason, _)| *reason as u8);
        found.into_iter()
    }

    /// The index is another listener's from now on.
    fn begin_anew(&mut self, listener: u8) {
        self.0.retain(|((known, _), _)| *known != listener);
    }

    fn add(&mut self, other: &Self) {
        for (pair, count) in &other.0 {
            self.add_to(*pair, *count);
        }
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
    /// Of the PUBLISH packets from clients those with QoS 1, and those with QoS 2. Others are not counted a second time.
    pub received_acknowledged: [u64; 2],
    /// The same of those to clients.
    pub sent_acknowledged: [u64; 2],
    /// CONNECTs answered with success.
    pub connections: u64,
    /// Of those, by version: 3.1, 3.1.1, 5.0.
    pub connections_by_version: [u64; 3],
    /// Sessions ended because nobody came back in time.
    pub sessions_expired: u64,
    /// Messages to other shards.
    pub mesh_sent: u64,
    /// Acknowledgements that waited for a subscriber's queue.
    pub acks_held_back: u64,
    /// Publishers that were not read for that.
    pub publishers_held_back: u64,
    /// Dropped messages by reason.
    pub drops: CountsByReason<{ DropReason::COUNT }>,
    /// Ended connections by reason.
    pub closes: CountsByReason<{ CloseReason::COUNT }>,
    /// Messages and wills that were not taken, by cause.
    pub publishes_refused: CountsByReason<{ RequestRefusal::COUNT }>,
    /// Filters of SUBSCRIBEs that were not taken, by cause.
    pub filters_refused: CountsByReason<{ RequestRefusal::COUNT }>,
    /// Pauses of clients by the rate that they were over.
    pub pauses: CountsByReason<{ PauseReason::COUNT }>,
    /// How long messages took.
    pub timings: MessageTimings,
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

    /// Counts one message or will that was not taken.
    pub const fn publish_refused(&mut self, cause: RequestRefusal) {
        self.publishes_refused.count(cause as usize);
    }

    /// Counts one filter that was not taken.
    pub const fn filter_refused(&mut self, cause: RequestRefusal) {
        self.filters_refused.count(cause as usize);
    }

    /// Counts one pause of a client.
    pub const fn paused(&mut self, reason: PauseReason) {
        self.pauses.count(reason as usize);
    }

    /// Messages dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// PUBLISH packets from clients, by QoS.
    pub const fn received_by_qos(&self) -> [u64; 3] {
        by_qos(self.publish_received, self.received_acknowledged)
    }

    /// PUBLISH packets to clients, by QoS.
    pub const fn sent_by_qos(&self) -> [u64; 3] {
        by_qos(self.publish_sent, self.sent_acknowledged)
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
        self.acks_held_back += other.acks_held_back;
        self.publishers_held_back += other.publishers_held_back;
        self.drops.add(&other.drops);
        self.closes.add(&other.closes);
        self.publishes_refused.add(&other.publishes_refused);
        self.filters_refused.add(&other.filters_refused);
        self.pauses.add(&other.pauses);
        add_each(&mut self.received_acknowledged, &other.received_acknowledged);
        add_each(&mut self.sent_acknowledged, &other.sent_acknowledged);
        add_each(&mut self.connections_by_version, &other.connections_by_version);
        self.timings.add(&other.timings);
    }
}

const fn by_qos(all: u64, [at_least_once, exactly_once]: [u64; 2]) -> [u64; 3] {
    [all - at_least_once - exactly_once, at_least_once, exactly_once]
}

fn add_each<const N: usize>(mine: &mut [u64; N], theirs: &[u64; N]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
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
    /// Of those, by listener.
    pub sockets_by_listener: CountsByListener,
    /// Connections that ended before CONNACK had let their client in, by listener.
    pub refused_by_listener: CountsByListener,
    /// Connections of clients that ended, by listener.
    pub closed_by_listener: CountsByListener,
    /// Both, by reason as well.
    pub ends_by_listener: EndsByListener,
    /// Messages that clients lost while they were connected, by listener.
    pub lost_by_listener: CountsByListener,
    /// Connections that ended before a shard knew them, by reason.
    pub closes: CountsByReason<{ CloseReason::COUNT }>,
    /// Datagrams of MQTT-SN that led to nothing, and messages that no datagram could be made of.
    pub datagrams_dropped: u64,
}

impl TransportCounters {
    /// Counts one connection that ended before a shard knew it.
    pub const fn closed(&mut self, reason: CloseReason) {
        self.closes.count(reason as usize);
    }

    /// The same of one that came by a listener.
    pub fn refused(&mut self, listener: u8, reason: CloseReason) {
        self.closed(reason);
        self.refused_by_listener.count(listener);
        self.ends_by_listener.count(listener, reason);
    }

    /// Counts for its listener a connection that the shard has ended, and counted for itself.
    pub fn ended_by_shard(&mut self, listener: u8, reason: CloseReason) {
        let counts = if reason.is_refusal() { &mut self.refused_by_listener } else { &mut self.closed_by_listener };
        counts.count(listener);
        self.ends_by_listener.count(listener, reason);
    }

    /// The index is another listener's from now on.
    pub fn begin_listener(&mut self, listener: u8) {
        self.sockets_by_listener.begin_anew(listener);
        self.refused_by_listener.begin_anew(listener);
        self.closed_by_listener.begin_anew(listener);
        self.ends_by_listener.begin_anew(listener);
        self.lost_by_listener.begin_anew(listener);
    }

    /// Adds what another shard's sockets counted.
    pub fn add(&mut self, other: &Self) {
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.sockets += other.sockets;
        self.datagrams_dropped += other.datagrams_dropped;
        self.sockets_by_listener.add(&other.sockets_by_listener);
        self.refused_by_listener.add(&other.refused_by_listener);
        self.closed_by_listener.add(&other.closed_by_listener);
        self.ends_by_listener.add(&other.ends_by_listener);
        self.lost_by_listener.add(&other.lost_by_listener);
        self.closes.add(&other.closes);
    }
}

/// What one shard holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions with a connection.
    pub clients_connected: u64,
    /// Of those, by the version of their connection: 3.1, 3.1.1, 5.0.
    pub connected_by_version: [u64; 3],
    /// Of those, services of the broker's own: bridges, sinks, sources.
    pub services_connected: u64,
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
    /// Memory that the queues of all shards take together.
    pub queued_memory_bytes: u64,
}

impl Gauges {
    /// Adds what another shard holds. Retained messages and the memory of all queues are the same everywhere and are not added.
    pub fn add(&mut self, other: &Self) {
        self.clients_connected += other.clients_connected;
        add_each(&mut self.connected_by_version, &other.connected_by_version);
        self.services_connected += other.services_connected;
        self.clients_disconnected += other.clients_disconnected;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.retained_messages = self.retained_messages.max(other.retained_messages);
        self.stored_messages += other.stored_messages;
        self.stored_bytes += other.stored_bytes;
        self.stored_on_disk += other.stored_on_disk;
        self.logs_short += other.logs_short;
        self.queued_memory_bytes = self.queued_memory_bytes.max(other.queued_memory_bytes);
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
    /// What its loop, its rings and its disk have done: added by whoever runs it.
    pub run: LoopFigures,
}

impl Report {
    /// Connections that ended for this reason before CONNACK had let their client in.
    pub fn refused(&self, reason: CloseReason) -> u64 {
        let by_shards = if reason.is_refusal() { self.counters.closes[reason as usize] } else { 0 };
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
        self.run.add(&other.run);
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
