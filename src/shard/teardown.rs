//! How the subscriptions of a session that has ended leave the index: a few at once, many some in each turn.
//!
//! Always holds: a session that has ended gets nothing and counts nowhere, whatever of it the index still names. While the
//! index names one, a turn takes out of it at least as many subscriptions as clients have put in since the last: who ends
//! sessions faster than they are taken down does not make it grow.

use super::Turn;
use super::clients::Clients;
use super::router::Router;
use crate::ids::SessionId;
use crate::session::Place;
use crate::topic::Matches;

impl Router {
    /// Ends the subscriptions of a session that has ended, now if they are few.
    pub(super) fn begin_teardown(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) {
        if clients.sessions.get(id).subscriptions.len() <= clients.settings.subscriptions_per_share() {
            self.take_out(turn, clients, id, usize::MAX);
        }
    }

    /// One turn's part of what is to be taken out.
    pub(super) fn tear_down(&mut self, turn: &mut Turn<'_>, clients: &mut Clients) {
        let mut left =
            std::mem::take(&mut self.inserted_meanwhile).max(clients.settings.subscriptions_per_turn as usize);
        while left > 0
            && let Some(&id) = clients.sessions.ended().front()
        {
            left -= self.take_out(turn, clients, id, left).min(left);
        }
    }

    /// Takes at most `max` of its subscriptions out of the index, and gives its slot free when none is left.
    fn take_out(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId, max: usize) -> usize {
        let durable = clients.sessions.get(id).counts_as_durable;
        let mut done = 0;
        while done < max
            && let Some(place) = clients.sessions.take_any_from_ended(id)
        {
            self.remove_from_index(turn, clients, place, durable);
            done += 1;
        }
        if clients.sessions.get(id).subscriptions.is_empty() {
            clients.sessions.free(id);
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
        let Place { entry, position } = place;
        let removed = self.index.remove(entry, position, durable);
        if let Some(moved) = removed.moved {
            clients.sessions.get_mut(moved).subscriptions.set(place);
        }
        if let (Some(interest), Some(filter)) = (removed.change, removed.filter) {
            self.announce(turn, clients, &filter, interest);
        }
    }
}

impl Clients {
    /// Leaves out of a match what sessions that have ended were subscribed to.
    pub(super) fn remove_ended_sessions(&self, matches: &mut Matches) {
        if !self.sessions.ended().is_empty() {
            matches.local.retain(|subscriber| !self.sessions.get(subscriber.session).has_ended);
        }
    }
}
