//! What follows for messages from the rates of clients: who is not heard for a while, and who is sent nothing.
//!
//! Leaves to others: rates and who is paused (`profiled`), and whether anything else holds a client whose pause is over (`hearing`).

use super::clients::Clients;
use super::profiled::Direction;
use super::{Event, Shard, Turn};
use crate::codec::{Publish, ReasonCode};
use crate::ids::SessionId;
use crate::limits::RATE_PAUSES_ENDED_PER_TICK;
use crate::telemetry::CloseReason;

impl Shard {
    /// Counts a message of a client that may have a rate. Returns whether it goes on its way: otherwise its connection has ended.
    #[cold]
    pub(super) fn count_against_rate(&mut self, turn: &mut Turn<'_>, id: SessionId, publish: &Publish<'_>) -> bool {
        let bytes = publish.topic.len() + publish.properties.len_bytes() + publish.payload.len();
        if !self.clients.spend(turn, id, Direction::Publish, bytes as u64) {
            return true;
        }
        if self.clients.profiled.is_closed_for_rate(id) {
            let (code, text) = (ReasonCode::MessageRateTooHigh, "it publishes faster than its profile allows");
            self.close(turn, id, code, CloseReason::MessageRate, text);
            return false;
        }
        turn.fx.holds_sender = true;
        true
    }

    /// Goes on with clients whose pauses are over, as many as a tick may.
    pub(super) fn end_pauses(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..RATE_PAUSES_ENDED_PER_TICK {
            let Some((id, direction)) = self.clients.profiled.end_next_pause(turn.now) else { return };
            match direction {
                Direction::Delivery => self.clients.add_work(id),
                Direction::Publish => self.clients.hear_again(turn, id),
            }
        }
    }
}

impl Clients {
    /// Counts a message. Returns whether the client is paused for it.
    fn spend(&mut self, turn: &mut Turn<'_>, id: SessionId, direction: Direction, bytes: u64) -> bool {
        if let Some(pause) = self.profiled.spend(turn.now, id, direction, bytes) {
            self.counters.paused(pause.reason);
            let session = self.sessions.get(id);
            if let Some(link) = session.link.as_deref().filter(|_| pause.is_first) {
                let (connection, client_id) = (link.connection, session.client_id.clone());
                turn.fx.events.push(Event::Paused { connection, client_id, reason: pause.reason });
            }
        }
        self.profiled.is_paused(id, direction)
    }

    /// Counts a message that was sent to a client that may have a rate.
    #[cold]
    pub(super) fn count_delivery_against_rate(&mut self, turn: &mut Turn<'_>, id: SessionId, bytes: u64) {
        self.spend(turn, id, Direction::Delivery, bytes);
    }

    /// Whether a client is to be sent nothing now.
    #[inline]
    pub(super) fn is_sent_nothing(&self, id: SessionId) -> bool {
        self.profiled.has_rates && self.profiled.is_paused(id, Direction::Delivery)
    }

    /// Whether a client is not heard now, because it publishes too fast.
    pub(super) fn is_paused_as_publisher(&self, id: SessionId) -> bool {
        self.profiled.has_rates && self.profiled.is_paused(id, Direction::Publish)
    }
}
