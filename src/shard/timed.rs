//! Which messages are timed, and how long clients take to acknowledge them.
//!
//! Always holds: whether a message is timed is known from its session and its packet identifier alone, so that nobody has to remember it; one
//! of [`TIMED_ONE_OF`] is, of each session and over all sessions.
//! Leaves to others: what a shard counts ([`MessageTimings`]).
//!
//! [`MessageTimings`]: crate::telemetry::MessageTimings

use super::clients::Clients;
use crate::ids::{PacketId, SessionId};
use crate::limits::TIMED_ONE_OF;
use crate::session::Message;
use crate::time::Now;

/// Whether a message with QoS 1 or 2 is timed.
#[inline]
pub(super) const fn is_timed(id: SessionId, packet_id: PacketId) -> bool {
    (packet_id.get() as u32 ^ id.0).is_multiple_of(TIMED_ONE_OF)
}

impl Clients {
    /// A message that is timed has left its queue.
    #[cold]
    pub(super) fn time_queue_wait(&mut self, message: &Message) {
        let waited_ns = self.queues.waited_ns(message);
        self.counters.timings.queued.note(waited_ns);
    }

    /// A client has acknowledged a message that is timed, for the first time or again.
    #[cold]
    pub(super) fn time_client_ack(&mut self, now: Now, id: SessionId, packet_id: PacketId) {
        let sent = self.sessions.get(id).outbound().and_then(|outbound| outbound.window().sent(packet_id));
        if let Some(sent) = sent {
            self.counters.timings.client_acks.note(sent.elapsed_ns(now));
        }
    }
}
