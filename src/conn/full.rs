//! A broker that is full, and those who come all the same.
//!
//! Places are counted by the shards, of clients that were let in. A client that finds none may have come a moment too early:
//! another has left, and the shard that it was on has not seen that yet. So its CONNECT waits a little before the shard is asked
//! to judge it. Nothing is received from it meanwhile.

use super::connection::Phase;
use super::connections::{Connections, InputHandler};
use super::handed_over::{ArrivedClient, AwaitedPlace};
use crate::ids::ConnectionId;
use crate::limits::{PLACE_AGAIN_MS, PLACE_WAIT_MS};
use crate::time::Now;

impl Connections {
    /// Has a CONNECT wait until there is a place, or until it has waited long enough to be refused.
    pub(super) fn await_place(&mut self, now: Now, id: ConnectionId, arrived: ArrivedClient) {
        let Some(connection) = self.table.get_mut(id) else { return };
        connection.phase = Phase::AwaitingPlace;
        let until = now.after_ms(PLACE_WAIT_MS);
        let waiting = AwaitedPlace { until, connection: id, arrived: Box::new(arrived) };
        self.listeners[usize::from(connection.listener)].awaiting_place.0.push_back(waiting);
        self.place_again = Some(now.after_ms(PLACE_AGAIN_MS));
    }

    /// Lets those in that waited for a place, as far as there are places, and has those refused that have waited long enough.
    pub(super) fn open_waiting(&mut self, core: &mut impl InputHandler) {
        if self.place_again.is_none() {
            return;
        }
        let now = core.now();
        for listener in 0..self.listeners.len() {
            while let Some(arrived) = self.next_to_open(core, listener, now) {
                let AwaitedPlace { connection: id, arrived, .. } = arrived;
                if self.table.get(id).is_some() {
                    if let Some(arrived) = self.keep_own(now, id, *arrived) {
                        let ArrivedClient { connect, rest, assigned_client_id, .. } = arrived;
                        self.open(core, id, &connect, assigned_client_id.as_deref(), &rest);
                    }
                    self.finish_layers(core, id);
                    self.receive_again(id);
                }
            }
        }
        let waits = self.listeners.iter().any(|listener| !listener.awaiting_place.is_empty());
        self.place_again = waits.then(|| now.after_ms(PLACE_AGAIN_MS));
    }

    fn next_to_open(&mut self, core: &impl InputHandler, listener: usize, now: Now) -> Option<AwaitedPlace> {
        let waiting = &mut self.listeners[listener].awaiting_place.0;
        let first = waiting.front()?;
        let is_full = || core.is_full_for(first.arrived.client_id(), listener as u8);
        if !first.until.is_due(now) && is_full() {
            return None;
        }
        waiting.pop_front()
    }
}
