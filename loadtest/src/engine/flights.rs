//! Messages that are under way: who waits for them, how long, and what becomes of those that never arrive.

use super::board::Note;
use super::client::{State, Unacknowledged};
use super::crew::Crew;
use super::mode::Mode;

/// A message of the closed loop that its subscribers have not had after this time is written off, so that a lost one does
/// not end the loop.
const PATIENCE_NS: u64 = 5_000_000_000;

impl Crew {
    /// Whether messages wait for acknowledgements.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.clients.iter().any(|client| {
            client.state == State::Live
                && client.busy.as_ref().is_some_and(|busy| !busy.flight.unacknowledged.is_empty())
        })
    }

    /// At the end: what is still not acknowledged never will be.
    pub(super) fn settle(&mut self) {
        for client in 0..self.cast.clients {
            let Some(busy) = &mut self.clients[client as usize].busy else { continue };
            let left: Vec<Unacknowledged> = busy.flight.unacknowledged.drain(..).collect();
            if !left.is_empty() {
                let role = self.cast.role_of(client);
                self.abandon(role, &left);
            }
        }
        self.excuse_absent(true);
    }

    /// Gives up waiting for the subscribers of old messages of the closed loop.
    pub(super) fn write_off(&mut self, now_ns: u64) {
        for role in 0..self.modes.len() {
            if !matches!(self.modes[role], Mode::Closed { .. }) {
                continue;
            }
            let (first, here) = (self.cast.roles[role].first_local, self.cast.roles[role].here);
            for client in first..first + here {
                let Some(busy) = &mut self.clients[client as usize].busy else { continue };
                let open = &mut busy.flight.open;
                let before = open.len();
                open.retain(|one| one.sent_ns + PATIENCE_NS > now_ns);
                if open.len() < before {
                    self.tally.written_off += (before - open.len()) as u64;
                    self.make_eager(client);
                }
            }
        }
    }

    /// Takes what other workers noted of their subscribers.
    pub(super) fn take_notes(&mut self) {
        if self.seat.has_notes() {
            let notes = self.seat.take_notes();
            for note in &notes {
                if let Some(role) = self.cast.role_of_stream(note.stream) {
                    self.note_delivered(role, note.stream, note.sequence);
                }
            }
            self.seat.give_back(notes);
        }
    }

    /// Notes that a subscriber has a message of the closed loop.
    #[inline]
    pub(super) fn note_delivered(&mut self, role: usize, stream: u32, sequence: u32) {
        if !self.cast.roles[role].is_closed {
            return;
        }
        let Some(publisher) = self.cast.publisher_of(role, stream) else {
            self.seat.note(self.cast.publisher_index(role, stream), Note { stream, sequence });
            return;
        };
        let Some(busy) = &mut self.clients[publisher as usize].busy else { return };
        let open = &mut busy.flight.open;
        let Some(at) = open.iter().position(|one| one.stream == stream && one.sequence == sequence) else { return };
        open[at].left -= 1;
        if open[at].left == 0 {
            open.remove(at);
            self.make_eager(publisher);
        }
    }
}
