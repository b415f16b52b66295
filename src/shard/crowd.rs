//! Messages with so many subscribers on this shard that their delivery takes several turns: begun, gone on with, and caught up on by
//! sessions that are to get something newer. How far each has come is kept by `fanouts`.

use smallvec::SmallVec;

use super::clients::Clients;
use super::fanouts::{FanoutUnderWay, Part, cost_of};
use super::hold_back::Fullest;
use super::outgoing::Fanout;
use super::router::Router;
use super::{Confirmation, Turn};
use crate::ids::{Qos, SessionId};
use crate::limits::{FANOUT_TURNS_AHEAD, FANOUTS_MAX};
use crate::session::{Place, Reception, Routed};
use crate::topic::{EntryId, Matches, Subscriber};

/// Subscribers that a message may have, while others are under way, without becoming one of them: each is first given what it
/// lacks of those.
const CAUGHT_UP_MAX: usize = 64;
impl Router {
    /// Whether a message with these subscribers takes several turns.
    #[inline]
    pub(super) fn is_for_many(&self, clients: &Clients, qos: Qos, matches: &Matches) -> bool {
        let served = matches.local.len();
        matches.is_crowd
            || served > per_turn(clients, qos) as usize
            || !self.fanouts.is_empty() && served > CAUGHT_UP_MAX
    }

    /// Begins with a message that takes several turns. `confirm`: who waits until it has been delivered, and what that led to is
    /// on stable storage.
    #[cold]
    pub(super) fn begin_fanout(&mut self, routed: &mut Routed<'_>, matches: &Matches, confirm: Option<Confirmation>) {
        let mut parts: SmallVec<[Part; 1]> = matches
            .entries
            .iter()
            .map(|&entry| Part { entry, next: 0, end: self.index.subscribers_count(entry) })
            .filter(|part| part.end > 0)
            .collect();
        parts.sort_unstable_by_key(|part| part.entry);
        let message = routed.share().clone();
        self.fanouts.0.push_back(FanoutUnderWay {
            message,
            parts,
            is_recorded: false,
            confirm,
            reception: Reception::default(),
            fullest: Fullest::default(),
            behind: Vec::new(),
            publisher: None,
        });
    }

    /// Goes on with the first message that is under way, and with those that have come as far in the same list, for one turn's part.
    pub(super) fn go_on_with_fanout(&mut self, turn: &mut Turn<'_>, clients: &mut Clients) {
        let Some(first) = self.fanouts.0.front() else { return };
        if first.parts.len() == 1 {
            self.deliver_abreast(turn, clients);
        } else {
            let before = clients.record_log.last();
            let budget = per_turn(clients, first.message.borrow().qos);
            self.deliver_overlapping(turn, clients, budget);
            self.fanouts.0[0].is_recorded |= clients.record_log.last() > before;
        }
        while self.fanouts.0.front().is_some_and(FanoutUnderWay::is_done) {
            let done = self.fanouts.0.pop_front().expect("it was there");
            finish(turn, clients, &done);
            if self.fanouts.is_empty() {
                clients.note_all_delivered(turn);
            }
        }
    }

    /// Each of the next subscribers of one list is given all messages that are about to reach it, so that they leave with one send.
    fn deliver_abreast(&mut self, turn: &mut Turn<'_>, clients: &mut Clients) {
        let abreast = self.fanouts.abreast();
        let cost: u32 = self.fanouts.0.iter().take(abreast).map(|fanout| cost_of(fanout.message.borrow().qos)).sum();
        let Part { entry, next, end } = self.fanouts.0[0].parts[0];
        let end = end.min(next.saturating_add((clients.settings.subscribers_per_turn / cost).max(1)));
        let one; // that a crowd may have shrunk to
        let mut crowd = self.index.subscribers_of_crowd(entry);
        if crowd.is_empty() && next < end {
            one = [self.index.get(entry, 0)];
            crowd = &one;
        }
        let served = crowd.get(next as usize..end as usize).unwrap_or_default();
        for under_way in self.fanouts.0.iter_mut().take(abreast) {
            let before = clients.record_log.last();
            let message = under_way.message.clone();
            let mut fanout = Fanout::new(Routed::shared(&message));
            let outer = clients.enter_span(turn, &message);
            clients.deliver_to_each(turn, &mut fanout, served);
            clients.leave_span(turn, outer);
            under_way.is_recorded |= clients.record_log.last() > before;
            under_way.add(fanout.reception, fanout.fullest);
            under_way.parts[0].next = end;
        }
    }

    /// Whether so much is under way that whoever adds to it is to be read no further.
    pub(super) fn has_much_under_way(&self, clients: &Clients) -> bool {
        let most = u64::from(clients.settings.subscribers_per_turn) * u64::from(FANOUT_TURNS_AHEAD);
        self.fanouts.len() >= FANOUTS_MAX / 2 || self.fanouts.cost_left() > most
    }

    /// The same for a message that matches several filters.
    fn deliver_overlapping(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, budget: u32) {
        let mut left = budget;
        while left > 0 {
            let first = &self.fanouts.0[0];
            let Some(part) = first.parts.iter().find(|part| part.next < part.end) else { return };
            let id = self.index.get(part.entry, part.next).session;
            let looked_at = first.parts.len().min(clients.sessions.get(id).subscriptions.len()) as u32;
            self.deliver_pending(turn, clients, 0, id);
            left = left.saturating_sub(1 + looked_at / 2);
        }
    }

    /// Gives a session what it lacks, before it gets anything newer, or stops subscribing.
    #[inline]
    pub(super) fn catch_up(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) {
        if !self.fanouts.is_empty() {
            self.deliver_all_pending(turn, clients, id);
        }
    }

    #[cold]
    fn deliver_all_pending(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) {
        for at in 0..self.fanouts.len() {
            let before = clients.record_log.last();
            self.deliver_pending(turn, clients, at, id);
            self.fanouts.0[at].is_recorded |= clients.record_log.last() > before;
        }
    }

    /// The same for all of these.
    #[cold]
    pub(super) fn catch_all_up(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, subscribers: &[Subscriber]) {
        for subscriber in subscribers {
            self.catch_up(turn, clients, subscriber.session);
        }
    }

    /// Delivers one message under way to one session, if it lacks it.
    fn deliver_pending(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, at: usize, id: SessionId) {
        let session = clients.sessions.get(id);
        let pending = self.fanouts.0[at].pending_places(session);
        if pending.is_empty() {
            return;
        }
        if !session.has_ended {
            let fanout = &self.fanouts.0[at];
            let subscribers: SmallVec<[Subscriber; 4]> =
                pending.iter().map(|&(part, position)| self.index.get(fanout.parts[part].entry, position)).collect();
            let message = fanout.message.clone();
            let mut fanout = Fanout::new(Routed::shared(&message));
            let outer = clients.enter_span(turn, &message);
            if !clients.access.checks || !clients.withholds(id, &fanout) {
                clients.deliver_to_session(turn, &mut fanout, &subscribers);
            }
            clients.leave_span(turn, outer);
            self.fanouts.0[at].add(fanout.reception, fanout.fullest);
        }
        for &(part, position) in &pending {
            let entry = self.fanouts.0[at].parts[part].entry;
            self.pass(clients, at, Place { entry, position });
        }
    }

    /// Notes that the subscriber at a place has been passed by the message number `at` and all before it.
    fn pass(&mut self, clients: &mut Clients, at: usize, place: Place) {
        for (from, to) in self.fanouts.pass(at, place) {
            self.swap(clients, place.entry, from, to);
        }
    }

    /// Moves a subscriber that is about to be taken out of its list behind all places that messages under way have come to: the
    /// last of each side fills the gap. Returns where it is now.
    pub(super) fn move_behind_fanouts(&mut self, clients: &mut Clients, place: Place) -> u32 {
        let Place { entry, position } = place;
        if self.fanouts.is_empty() || entry.is_shared() {
            return position;
        }
        let mut gap = position;
        for last in self.fanouts.take_out(place) {
            if last != gap {
                self.index.swap(entry, gap, last);
                let moved = self.index.get(entry, gap).session;
                clients.sessions.get_mut(moved).subscriptions.set(Place { entry, position: gap });
            }
            gap = last;
        }
        gap
    }

    /// Lets two subscribers change places, and tells their sessions.
    fn swap(&mut self, clients: &mut Clients, entry: EntryId, left: u32, right: u32) {
        if left == right {
            return;
        }
        self.index.swap(entry, left, right);
        for position in [left, right] {
            let session = self.index.get(entry, position).session;
            clients.sessions.get_mut(session).subscriptions.set(Place { entry, position });
        }
    }
}

/// How many subscribers a turn serves with a message: one that is kept until it is acknowledged costs several times as much.
fn per_turn(clients: &Clients, qos: Qos) -> u32 {
    (clients.settings.subscribers_per_turn / cost_of(qos)).max(1)
}

/// All who were to have a message have it: whoever waited for that goes on.
fn finish(turn: &mut Turn<'_>, clients: &mut Clients, done: &FanoutUnderWay) {
    match done.confirm.map(|confirmation| confirmation.and(done.reception)) {
        Some(confirmation) if clients.wait_for_room(turn.now, done.fullest, confirmation) => {}
        Some(confirmation) if done.is_recorded => clients.confirm_when_durable(turn, confirmation),
        Some(confirmation) => clients.tell_stored(turn, confirmation),
        None => {}
    }
    for &confirmation in &done.behind {
        clients.confirm_when_durable(turn, confirmation);
    }
    if let Some(connection) = done.publisher
        && let Some(id) = clients.sessions.of_connection(connection)
        && let Some(link) = clients.sessions.get_mut(id).link.as_deref_mut()
    {
        link.set_held_for_fanout(false);
        clients.hear_again(turn, id);
    }
}
