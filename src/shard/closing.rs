//! Ranges that this node serves no more: their clients are closed and their sessions forgotten, so many a tick.
//!
//! Always holds: from the command on nothing that a client of these ranges sends is heard, nothing is acknowledged to one, and none is let in. A session
//! that is forgotten says nothing of itself: its will is not published, and no record is written, however it ends. The command is answered when no
//! session of the ranges is left, and when the view that this shard goes by does not have them here: that comes by another way, perhaps later, and the
//! shard would let clients in once more.
//! Leaves to others: how far it has come (`closing_ranges`), when a range is closed (`cluster`), what a session leaves behind in the index, and messages of
//! shared subscriptions that another member gets (`teardown`).

use super::clients::Clients;
use super::closing_ranges::ClosingWalk;
use super::shutdown::SLOTS_PER_TICK;
use super::{Reply, RequestId, Shard, Turn};
use crate::auth::AskId;
use crate::cluster::{RangeServer, RangeSet};
use crate::codec::ReasonCode;
use crate::ids::SessionId;
use crate::limits::CLOSED_PER_TICK;
use crate::session::Outbound;
use crate::telemetry::CloseReason;

/// Why a client of such a range is not let in.
pub(super) const RANGE_IS_CLOSED: &str = "this node is about to serve its range no more";

impl Clients {
    /// Whether the range of a session is being closed.
    #[inline]
    pub(super) fn is_closing(&self, id: SessionId) -> bool {
        !self.closing.ranges.is_empty() && self.is_of_closing(id)
    }

    #[cold]
    fn is_of_closing(&self, id: SessionId) -> bool {
        self.sessions.try_get(id).is_some_and(|session| self.closing.has(&session.client_id))
    }

    /// From now on a session leaves no will, and its end no record.
    #[cold]
    pub(super) fn silence(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id);
        session.will = None;
        (session.expiry_s, session.ends_with_connection) = (0, false);
    }
}

impl Shard {
    /// Begins to close these ranges. `Err` with the answer, if there is nothing to begin.
    pub(super) fn begin_closing(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        ranges: RangeSet,
    ) -> Result<(), Reply> {
        let Some(nodes) = self.router.nodes.as_deref() else { return Err(Reply::Refused("there is no cluster")) };
        let closing = &mut self.clients.closing;
        if closing.ranges.meets(ranges) {
            return Err(Reply::NotNow("one of them is being closed"));
        }
        closing.count = nodes.view.ranges;
        closing.ranges = closing.ranges.with(ranges);
        let end = self.clients.sessions.slots();
        closing.walks.push_back(ClosingWalk { request, ranges, next: 0, end, ask: AskId(0), is_over: false });
        self.close_ranges(turn);
        Ok(())
    }

    /// One tick's part of it.
    pub(super) fn close_ranges(&mut self, turn: &mut Turn<'_>) {
        let Some(at) = self.clients.closing.walks.iter().position(|walk| !walk.is_over) else { return };
        let ClosingWalk { mut next, end, ask, .. } = self.clients.closing.walks[at];
        let ask = self.refuse_closing(turn, ask);
        let until = end.min(next.saturating_add(SLOTS_PER_TICK));
        let (mut closed, mut left) = (0, self.clients.settings.subscriptions_per_turn as usize);
        while next < until && closed < CLOSED_PER_TICK && left > 0 {
            let id = SessionId(next);
            next += 1;
            let Some(session) = self.clients.sessions.try_get(id).filter(|session| !session.has_ended) else {
                continue;
            };
            if !self.clients.closing.has(&session.client_id) {
                continue;
            }
            closed += usize::from(session.link.is_some());
            left = left.saturating_sub(self.cost_of_forgetting(id));
            self.forget_session(turn, id);
        }
        let is_over = next >= end && ask >= self.pending.next_ask();
        let walk = &mut self.clients.closing.walks[at];
        (walk.next, walk.ask, walk.is_over) = (next, ask, is_over);
        self.answer_closed(turn);
    }

    /// What a session leaves that is seen to at once, in subscriptions.
    fn cost_of_forgetting(&self, id: SessionId) -> usize {
        let share = self.clients.settings.subscriptions_per_share();
        let session = self.clients.sessions.get(id);
        let on_their_way = session.outbound().map_or(0, Outbound::len);
        1 + session.subscriptions.len().min(share) + on_their_way.min(share)
    }

    /// Answers for the ranges that are closed, and that this shard's view does not have here.
    pub(super) fn answer_closed(&mut self, turn: &mut Turn<'_>) {
        let Some(nodes) = self.router.nodes.as_deref() else { return };
        let closing = &mut self.clients.closing;
        closing.walks.retain(|walk| {
            let is_here = |range| matches!(nodes.view.server_of(range), RangeServer::Own);
            let is_closed = walk.is_over && !walk.ranges.iter().any(is_here);
            if is_closed {
                closing.ranges = closing.ranges.without(walk.ranges);
                turn.fx.replies.push((walk.request, Reply::Done));
            }
            !is_closed
        });
    }

    /// Ends a session of a range that is being closed; its client is told to go elsewhere.
    pub(super) fn forget_session(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if self.clients.sessions.get(id).link.is_some() {
            let text = "another node serves its range from now on";
            self.close(turn, id, ReasonCode::UseAnotherServer, CloseReason::RangeLost, text);
        } else {
            self.end_session(turn, id);
        }
    }
}
