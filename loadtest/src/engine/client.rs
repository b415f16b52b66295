//! One client, as small as an idle one can be. What only a busy one needs is boxed and comes and goes with the need.

use bytes::Bytes;
use dunlin::ids::{ConnectionId, SocketId};
use std::collections::VecDeque;

/// Where a client is in its connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected, and nobody is trying.
    Away,
    /// TCP connects.
    Connecting,
    /// What lies below MQTT is being set up.
    Shaking,
    /// CONNECT was sent, and SUBSCRIBE with it where the group pipelines.
    Greeting,
    /// SUBSCRIBE was sent, and CONNACK has come.
    Subscribing,
    /// All is set up.
    Live,
}

/// What is kept of a client all the time: a million of them fit into memory.
pub(super) struct Client {
    pub(super) socket: Option<SocketId>,
    generation: u32,
    /// When what its state waits for was asked for; of a live one, when the last PINGREQ was sent.
    pub(super) since_ns: u64,
    /// Probably the tracker of its next message.
    pub(super) tracker: u32,
    last_packet_id: u16,
    /// Tries since it was connected last.
    pub(super) retries: u16,
    pub(super) state: State,
    /// A receive is under way.
    pub(super) receiving: bool,
    pub(super) ping_sent: bool,
    /// It has had a SUBACK, and the broker keeps its session if its group's sessions are kept.
    pub(super) owed: bool,
    /// In the queue of those that may have something to send.
    pub(super) eager: bool,
    pub(super) busy: Option<Box<Busy>>,
}

/// What a client has only while it is needed.
#[derive(Default)]
pub(super) struct Busy {
    /// The beginning of a packet whose rest has not come.
    pub(super) partial: Vec<u8>,
    /// Waits behind a send that the kernel has not finished.
    pub(super) blocked: Option<Vec<u8>>,
    /// Identifiers of QoS 2 messages that came and were not released.
    pub(super) unreleased: Vec<u16>,
    pub(super) flight: Flight,
}

/// A publisher's messages that are under way.
#[derive(Default)]
pub(super) struct Flight {
    /// Messages that wait for an acknowledgement, in the order they were sent.
    pub(super) unacknowledged: VecDeque<Unacknowledged>,
    /// How many of them the broker takes at a time.
    pub(super) acknowledged_max: u16,
    /// Closed loop: messages that wait for their subscribers.
    pub(super) open: VecDeque<Open>,
    /// Open loop: messages whose time has come and that could not be sent, and the time of the first.
    pub(super) waiting: u64,
    pub(super) waiting_from_ns: u64,
    /// Messages sent in this stage, closed loop and burst.
    pub(super) sent: u64,
    /// Where targets are taken in turn: the next, counted among the client's own.
    pub(super) next_target: u32,
}

/// A message that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unacknowledged {
    pub(super) packet_id: u16,
    /// PUBREC has come, PUBREL was sent.
    pub(super) released: bool,
    /// PUBREL was sent again, on another connection.
    pub(super) released_again: bool,
    pub(super) stream: u32,
    pub(super) sequence: u32,
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

/// A message that waits for its subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) stream: u32,
    pub(super) sequence: u32,
    pub(super) left: u32,
    pub(super) sent_ns: u64,
}

impl Client {
    pub(super) const fn new() -> Self {
        Self {
            socket: None,
            generation: 0,
            since_ns: 0,
            tracker: u32::MAX,
            last_packet_id: 0,
            retries: 0,
            state: State::Away,
            receiving: false,
            ping_sent: false,
            owed: false,
            eager: false,
            busy: None,
        }
    }

    /// The name of its connection.
    pub(super) const fn connection(&self, client: u32) -> ConnectionId {
        ConnectionId::new(client, self.generation)
    }

    /// Whether an event is about the connection that it has now.
    pub(super) const fn is_current(&self, connection: ConnectionId) -> bool {
        self.socket.is_some() && ConnectionId::new(0, self.generation).generation() == connection.generation()
    }

    /// Names the next connection.
    pub(super) const fn renew(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// A packet identifier that no message under way has.
    pub(super) fn next_packet_id(&mut self) -> std::num::NonZeroU16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let taken = |one: &Unacknowledged| one.packet_id == self.last_packet_id;
            if let Some(id) = std::num::NonZeroU16::new(self.last_packet_id)
                && !self.busy.as_ref().is_some_and(|busy| {
                    // Only after a whole round can one be taken still.
                    busy.flight.unacknowledged.front().is_some_and(taken)
                })
            {
                return id;
            }
        }
    }

    /// Whether a send is under way that the kernel has not finished.
    pub(super) fn is_blocked(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.blocked.is_some())
    }

    /// Gives back what an idle client has no need of.
    pub(super) fn tidy(&mut self) {
        let Some(busy) = &self.busy else { return };
        let flight = &busy.flight;
        if busy.partial.is_empty()
            && busy.blocked.is_none()
            && busy.unreleased.is_empty()
            && flight.acknowledged_max == 0
        {
            self.busy = None;
        }
    }
}

/// What waits behind a blocked send, to be sent next.
pub(super) fn take_blocked(busy: &mut Busy) -> Option<Bytes> {
    let waiting = busy.blocked.take()?;
    if waiting.is_empty() {
        return None;
    }
    busy.blocked = Some(Vec::new());
    Some(Bytes::from(waiting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small_and_a_late_event_is_told() {
        assert!(size_of::<Client>() <= 64, "{}", size_of::<Client>());
        let mut client = Client::new();
        let old = client.connection(3);
        assert!(!client.is_current(old), "it has no connection");
        client.renew();
        assert_ne!(client.connection(3), old);
        client.busy().partial.push(1);
        client.tidy();
        assert!(client.busy.is_some());
        client.busy().partial.clear();
        client.tidy();
        assert!(client.busy.is_none());
    }

    #[test]
    fn packet_identifiers_go_round_and_skip_zero() {
        let mut client = Client::new();
        let ids: Vec<u16> = (0..65_536).map(|_| client.next_packet_id().get()).collect();
        assert_eq!((ids[0], ids[65_534], ids[65_535]), (1, 65_535, 1));
    }
}
