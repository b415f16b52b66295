//! Room in queues, with `--full-queue hold-back`: whoever publishes faster than a connected subscriber takes is acknowledged later,
//! and not read on while many of its messages wait.
//!
//! Always holds: only connected sessions are waited for, while their queues are half full or more. One message waits for one
//! session of a shard: the fullest that it met. A publisher whose own queue is half full is read on in any case, or two clients that
//! publish to each other would wait for one another: whoever is waited for is read, and so its acknowledgements come.
//! Leaves to others: what waits and since when (`hold_back`), and bytes that come from whoever is not read (`conn`).

use super::clients::Clients;
use super::hold_back::Fullest;
use super::{Confirmation, Turn};
use crate::ids::SessionId;
use crate::limits::{HOLD_BACK_PUBLISHERS_MAX, HOLD_BACK_RELEASED_PER_TURN, HOLD_BACK_UNACKED_MAX};
use crate::session::{AckQueue, Link};
use crate::settings::FullQueue;
use crate::time::Now;

/// How full a queue is in which nothing more has room.
const FULL: u64 = 1_024;
/// From here on it is waited for.
const NEARLY_FULL: u32 = FULL as u32 / 2;
/// A session that was given up is waited for again when its queue has been no fuller than this.
const DRAINED: u32 = FULL as u32 / 4;
/// Sessions that one turn gives up.
const GIVEN_UP_PER_TURN: usize = 256;

impl Clients {
    /// How full a session's queue is, in messages or bytes, whichever is nearer to its limit.
    fn fullness(&self, id: SessionId) -> u32 {
        let Some(outbound) = self.sessions.get(id).outbound() else { return 0 };
        let part = |used: u64, limit: u64| (used.saturating_mul(FULL) / limit.max(1)).min(FULL);
        let limits = self.profiled.queue_limits(id, &self.settings);
        let messages = part(outbound.queued() as u64, limits.messages.into());
        messages.max(part(outbound.queued_bytes(), limits.bytes)) as u32
    }

    /// Whether whoever has published what stands in this queue is to wait for it.
    fn is_nearly_full(&self, id: SessionId) -> Option<u32> {
        self.sessions.try_get(id)?.link.as_deref()?;
        let fullness = self.fullness(id);
        (fullness >= NEARLY_FULL && !self.hold_back.is_given_up(id)).then_some(fullness)
    }

    /// Notes a queue that a message has met, or had no room in. If it is half full its client is read, be it one that was held: its
    /// acknowledgements are waited for.
    pub(super) fn note_fullness(&mut self, turn: &mut Turn<'_>, id: SessionId, fullest: &mut Fullest) {
        if self.settings.full_queue == FullQueue::HoldBack {
            *fullest = (*fullest).max(self.is_nearly_full(id).map(|fullness| (fullness, id)));
        }
        let is_held = self.sessions.get(id).link.as_deref().is_some_and(Link::is_held_back);
        if is_held && self.fullness(id) >= NEARLY_FULL {
            self.read_on(turn, id);
        }
    }

    /// Has a confirmation wait for the fullest of the queues that its message has met, if it is still nearly full. Returns whether
    /// it does.
    #[inline]
    pub(super) fn wait_for_room(&mut self, now: Now, fullest: Fullest, confirmation: Confirmation) -> bool {
        let Some((_, id)) = fullest else { return false };
        let waits = self.is_nearly_full(id).is_some();
        if waits {
            self.hold_back.wait(now, id, confirmation);
            self.counters.acks_held_back += 1;
        }
        waits
    }

    /// A session's queue has become shorter: who has waited for that goes on.
    #[inline]
    pub(super) fn note_room(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if self.hold_back.is_empty() {
            return;
        }
        let fullness = self.fullness(id);
        if fullness <= DRAINED || fullness < NEARLY_FULL && !self.hold_back.is_given_up(id) {
            self.stop_waiting_for(turn, id);
        }
    }

    /// Nobody waits for a session any more.
    pub(super) fn stop_waiting_for(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        self.hold_back.end(id);
        self.go_on_with_released(turn);
    }

    /// Gives up whoever was waited for long enough, and goes on with what need not wait any more, for one turn's part.
    pub(super) fn end_waiting(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..GIVEN_UP_PER_TURN {
            if !self.hold_back.give_up_next(turn.now) {
                break;
            }
        }
        self.go_on_with_released(turn);
    }

    fn go_on_with_released(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..HOLD_BACK_RELEASED_PER_TURN {
            let Some(confirmation) = self.hold_back.next_released() else { return };
            self.confirm_when_durable(turn, confirmation);
        }
    }

    /// A client has published: if many of its messages wait, nothing behind this one is read until there are fewer.
    pub(super) fn hold_publisher_back(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(link) = self.sessions.try_get(id).and_then(|session| session.link.as_deref()) else { return };
        let waiting = link.acks.as_deref().map_or(0, AckQueue::len);
        if waiting >= HOLD_BACK_UNACKED_MAX
            && !link.is_spared()
            && self.hold_back.publishers < HOLD_BACK_PUBLISHERS_MAX
            && self.fullness(id) < NEARLY_FULL
        {
            self.sessions.get_mut(id).link.as_deref_mut().expect("it had one above").set_held_back(true);
            self.hold_back.publishers += 1;
            self.counters.publishers_held_back += 1;
            turn.fx.holds_sender = true;
        }
    }

    /// Acknowledgements have left: a publisher that was held is read again when few are left.
    #[inline]
    pub(super) fn acks_have_left(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() else { return };
        if link.acks.as_deref().map_or(0, AckQueue::len) <= HOLD_BACK_UNACKED_MAX / 2 {
            link.set_spared(false);
            self.read_on(turn, id);
        }
    }

    /// Nobody's queue holds a publisher any more.
    pub(super) fn read_on(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut().filter(|link| link.is_held_back()) else {
            return;
        };
        link.set_held_back(false);
        self.hold_back.publishers -= 1;
        self.hear_again(turn, id);
    }

    /// A client was not read for as long as it may be silent: from now on it is, whatever waits, since what it has sent behind its
    /// messages may be PINGREQ. Returns whether it was so.
    pub(super) fn spare(&mut self, turn: &mut Turn<'_>, id: SessionId) -> bool {
        let Some(link) = self.sessions.get_mut(id).link.as_deref_mut().filter(|link| link.is_held_back()) else {
            return false;
        };
        link.set_spared(true);
        self.read_on(turn, id);
        true
    }
}
