//! How a session that has ended leaves: its subscriptions the index, what was on its way to its client the broker, or to another
//! member where it came by a shared subscription. A few at once, many some in each turn.
//!
//! Always holds: a session that has ended gets nothing and counts nowhere, whatever of it the index still names. While the
//! index names one, a turn takes out of it at least as many subscriptions as clients have put in since the last: who ends
//! sessions faster than they are taken down does not make it grow. Messages leave in the order in which they stood; the
//! record that the session has ended follows the records of those that others owe now.

use super::Turn;
use super::clients::Clients;
use super::router::Router;
use crate::ids::SessionId;
use crate::session::{GivenUp, Place};
use crate::store::format::LogRecord;
use crate::telemetry::DropReason;
use crate::topic::Matches;

impl Router {
    /// Begins with what a session that has ended leaves behind, and ends with it if that is little.
    pub(super) fn begin_teardown(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) {
        let share = clients.settings.subscriptions_per_share();
        if clients.sessions.get(id).subscriptions.len() <= share {
            self.take_out(turn, clients, id, share);
        }
        if clients.sessions.get(id).outbound().is_none_or(|outbound| outbound.len() <= share) {
            self.give_up(turn, clients, id, share);
        }
        let is_gone = clients.free_if_gone(id);
        if !is_gone && clients.sessions.get(id).is_persistent() {
            // It goes on in later turns: after a restart it is to end at once.
            clients.record_log.append(turn, &LogRecord::SessionExpiry { session: id, expiry_s: 0 });
        }
    }

    /// One turn's part of what is to be taken out.
    pub(super) fn tear_down(&mut self, turn: &mut Turn<'_>, clients: &mut Clients) {
        let mut left =
            std::mem::take(&mut self.inserted_meanwhile).max(clients.settings.subscriptions_per_turn as usize);
        while left > 0
            && let Some(&id) = clients.sessions.ended().front()
        {
            left -= self.take_out(turn, clients, id, left);
            left -= self.give_up(turn, clients, id, left);
            if !clients.free_if_gone(id) {
                break;
            }
            left = left.saturating_sub(1); // for the session itself
        }
    }

    /// Gives up at most `max` of the messages that were on their way to its client. Returns how many.
    fn give_up(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId, max: usize) -> usize {
        for done in 0..=max {
            let session = clients.sessions.get_mut(id);
            let Some(outbound) = session.outbound_existing_mut().filter(|outbound| !outbound.is_empty()) else {
                session.take_outbound();
                if session.is_persistent() {
                    session.expiry_s = 0;
                    clients.record_log.append(turn, &LogRecord::SessionEnded { session: id });
                }
                clients.end_loss(turn, id);
                return done;
            };
            if done == max {
                break;
            }
            match outbound.give_up_oldest(&mut clients.queues) {
                Some(GivenUp::Unacknowledged(delivery)) if delivery.message.is_expired(turn.now) => {
                    clients.counters.dropped(DropReason::Expired); // [MQTT-3.3.2-5]
                }
                Some(GivenUp::Unacknowledged(delivery))
                    if self.hand_to_another_member(turn, clients, id, &delivery) => {}
                Some(GivenUp::OnDisk(delivery)) if delivery.is_expired(turn.now) => {
                    clients.counters.dropped(DropReason::Expired);
                }
                Some(GivenUp::Unacknowledged(_) | GivenUp::OnDisk(_) | GivenUp::Lost) => {
                    clients.lose_with_session(turn.now, id);
                }
                Some(GivenUp::Received) => {}
                None => {
                    clients.ask_for_disk(turn, id);
                    return done;
                }
            }
        }
        max
    }

    /// Takes at most `max` of its subscriptions out of the index. Returns how many.
    fn take_out(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId, max: usize) -> usize {
        let durable = clients.sessions.get(id).counts_as_durable;
        let mut done = 0;
        while done < max
            && let Some(place) = clients.sessions.take_any_from_ended(id)
        {
            self.remove_from_index(turn, clients, place, durable);
            done += 1;
        }
        done
    }

    /// Takes one subscription out of the index, of which its session knows nothing any more.
    pub(super) fn remove_from_index(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        place: Place,
        durable: bool,
    ) {
        let place = Place { position: self.move_behind_fanouts(clients, place), ..place };
        let removed = self.index.remove(place.entry, place.position, durable);
        if let Some(moved) = removed.moved {
            clients.sessions.get_mut(moved).subscriptions.set(place);
        }
        if let (Some(change), Some(filter)) = (removed.change, removed.filter) {
            self.announce(turn, clients, &filter, change);
        }
    }
}

impl Clients {
    /// Gives the slot of a session that has ended free, if nothing is left of it.
    fn free_if_gone(&mut self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        let is_gone = session.subscriptions.is_empty() && session.outbound().is_none();
        if is_gone {
            self.sessions.free(id);
            self.access.set_principal(id, None);
        }
        is_gone
    }

    /// Leaves out of a match what sessions that have ended were subscribed to.
    pub(super) fn remove_ended_sessions(&self, matches: &mut Matches) {
        if !self.sessions.ended().is_empty() {
            matches.local.retain(|subscriber| !self.sessions.get(subscriber.session).has_ended);
        }
    }
}
