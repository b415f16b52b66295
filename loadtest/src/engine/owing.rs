//! From when on a subscriber is owed messages, and until when.

use super::client::State;
use super::crew::Crew;
use super::tracker::RETAINED;
use crate::plan::{Reads, RetainHandling};

/// What a subscriber's session is when it has its SUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// The first of the run: what was sent before was not for it.
    First,
    /// A later one, whose predecessor ended with its connection.
    Renewed,
    /// The same as before the connection was lost.
    Kept,
}

impl Crew {
    /// From here on a subscriber is owed what is published, and now what is retained.
    pub(super) fn begin_owing(&mut self, role: usize, client: u32, session: Session) {
        let goes_on = session == Session::Kept;
        let index = self.cast.index_of(role, client);
        let handling =
            self.cast.roles[role].filters.first().map_or(RetainHandling::DoNotSend, |one| one.1.retain_handling);
        let retained = match handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !goes_on,
            RetainHandling::DoNotSend => false,
        };
        let (trackers, copies, next) = (&mut self.trackers, &mut self.copies, &self.seat);
        let (verdict, cast) = (&mut self.tally.outcome.verdict, &self.cast);
        self.interest.for_each_stream(cast, role, index, &mut |stream, lane| {
            let sent = next.next_of(stream);
            if sent == 0 {
                return;
            }
            if !goes_on {
                let at = trackers.find(client, stream, u32::MAX);
                let excused = u64::from(trackers.get_mut(at).rebase(sent));
                let deliveries = verdict.lane_mut(lane);
                deliveries.excused += excused;
                deliveries.unsubscribed += if session == Session::First { excused } else { 0 };
            }
            let is_retained = retained
                && cast
                    .role_of_stream(stream)
                    .and_then(|role| cast.roles[role].publishing.as_ref())
                    .is_some_and(|publishing| publishing.what.retain);
            if is_retained {
                // The one that is there, or a later one that takes its place meanwhile; again, if it was here before.
                for trackers in std::iter::once(&mut *trackers).chain(copies.iter_mut()) {
                    let at = trackers.find(client, stream | RETAINED, u32::MAX);
                    trackers.get_mut(at).restart(sent - 1);
                }
                verdict.retained.expected += 1;
            }
        });
    }

    /// Who is away with its session gone is owed nothing: all that it was and did not get is excused. At the end so is
    /// what waits for sessions that are away, and for readers that hang, as the plan has it.
    pub(super) fn excuse_absent(&mut self, at_the_end: bool) {
        for client in 0..self.cast.clients {
            let role = self.cast.role_of(client);
            let state = &self.clients[client as usize];
            let had_subscribed = state.owed;
            let is_kept = had_subscribed && self.cast.roles[role].keeps_session;
            let hangs = at_the_end && self.cast.roles[role].group.reads == Reads::Stalled;
            let is_gone = hangs || state.state != State::Live && (at_the_end || !is_kept);
            if !is_gone || self.cast.roles[role].filters.is_empty() || !self.seat.any_sent() {
                continue;
            }
            let index = self.cast.index_of(role, client);
            let (trackers, next, verdict) = (&mut self.trackers, &self.seat, &mut self.tally.outcome.verdict);
            self.interest.for_each_stream(&self.cast, role, index, &mut |stream, lane| {
                let sent = next.next_of(stream);
                if sent > 0 {
                    let at = trackers.find(client, stream, u32::MAX);
                    let excused = u64::from(trackers.get_mut(at).rebase(sent));
                    let deliveries = verdict.lane_mut(lane);
                    deliveries.excused += excused;
                    deliveries.unsubscribed += if had_subscribed { 0 } else { excused };
                }
            });
        }
    }
}
