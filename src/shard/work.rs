//! Work that no packet asks for any more: exchanges sent again after a reconnect, retained messages for a new
//! subscription, a queue behind a window that has room, groups that are to know whether a client is there.
//!
//! Always holds: all of it pages under the client's window and outbox and under a budget for the turn, so a replay of a
//! million messages neither stops at a cap nor holds other clients up.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::deliver::Templates;
use super::{Effects, Shard};
use crate::codec::{AckKind, ReasonCode, encode_ack};
use crate::ids::{PacketId, Qos, SessionId};
use crate::limits::WORK_PER_TURN_MESSAGES;
use crate::session::{Backlog, Exchange, Link, Message, Outbound, Routed};
use crate::telemetry::DropReason;
use crate::time::Now;
use crate::topic::{Scan, TopicFilter};

/// Messages for one session before the next one's turn.
const SHARE_MESSAGES: usize = 64;
/// Retained entries looked at for one session before the next one's turn.
const SHARE_ENTRIES: usize = 1_024;
/// What a retained PUBLISH has at most beside topic, properties and payload: 5 bytes of fixed header, 2 of topic length,
/// 2 of packet identifier, 4 of property length, 5 of message expiry, 5 of subscription identifier.
const HEADER_BYTES: usize = 23;

impl Shard {
    /// Notes that a session may have something to send.
    pub(super) fn add_work(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id);
        if !session.has_work {
            session.has_work = true;
            self.work.push_back(id);
        }
    }

    /// Gives each session with work its share, until the turn's budget is used up.
    pub(super) fn work(&mut self, now: Now, fx: &mut Effects) {
        let mut budget = WORK_PER_TURN_MESSAGES;
        for _ in 0..self.work.len() {
            if budget == 0 {
                break;
            }
            let Some(id) = self.work.pop_front() else { break };
            match self.sessions.try_get_mut(id) {
                Some(session) if session.has_work => session.has_work = false,
                _ => continue, // the session has ended
            }
            let done = self.tell_groups(id, fx) + self.advance(now, id, fx);
            budget = budget.saturating_sub(done.max(1));
        }
    }

    /// A client is back: everything that was in flight is sent again, in order, before anything new; replays that the
    /// end of its connection broke off go on.
    pub(super) fn resume(&mut self, now: Now, id: SessionId, fx: &mut Effects) {
        let session = self.sessions.get_mut(id);
        let open: Vec<PacketId> =
            session.outbound().map(|outbound| outbound.window.iter().map(|(id, _)| id).collect()).unwrap_or_default();
        let sweeps = session.outbound_existing_mut().map(Outbound::unpark).unwrap_or_default();
        let Some(link) = session.link.as_deref_mut() else { return };
        if !open.is_empty() || !sweeps.is_empty() {
            *link.backlog_mut() = Backlog { resend: open.into(), sweeps };
        }
        self.advance(now, id, fx);
    }

    /// Does one session's share. Returns how many messages that were. What is left and can go on is noted as work;
    /// what waits for the client (an acknowledgement, room in the socket) comes back with it.
    pub(super) fn advance(&mut self, now: Now, id: SessionId, fx: &mut Effects) -> usize {
        let mut done = 0;
        if self.sessions.get(id).link.as_deref().is_some_and(|link| link.backlog.is_some()) {
            done += self.send_backlog_again(now, id, fx);
            while done < SHARE_MESSAGES && self.sweep(now, id, SHARE_MESSAGES - done, &mut done, fx) {}
        }
        if done < SHARE_MESSAGES {
            done += self.pump(now, id, SHARE_MESSAGES - done, fx);
        }
        let session = self.sessions.get_mut(id);
        let Some(link) = session.link.as_deref_mut() else { return done };
        link.backlog.take_if(|backlog| backlog.resend.is_empty() && backlog.sweeps.is_empty());
        let backlog = link.backlog.is_some();
        let blocked = link.is_blocked();
        let queue = session.outbound().is_some_and(Outbound::has_queue);
        // A full outbox that is not blocked is empty after the next flush; a full window waits for the client.
        if (backlog || queue) && !blocked && (self.has_window(id) || self.sweeps_at_most_once(id)) {
            self.add_work(id);
        }
        done
    }

    fn sweeps_at_most_once(&self, id: SessionId) -> bool {
        let link = self.sessions.get(id).link.as_deref();
        let sweep = link.and_then(|link| link.backlog.as_deref()?.sweeps.front());
        sweep.is_some_and(|sweep| sweep.qos == Qos::AtMostOnce)
    }

    /// Sends exchanges of an earlier connection again, as far as window and outbox go.
    fn send_backlog_again(&mut self, now: Now, id: SessionId, fx: &mut Effects) -> usize {
        let mut done = 0;
        while done < SHARE_MESSAGES && self.has_window(id) {
            let flush = self.flush;
            let limit = self.settings.outbox_max_bytes;
            let session = self.sessions.get_mut(id);
            let Some(link) = session.link.as_deref_mut().filter(|link| link.outbox_bytes(flush) < limit) else { break };
            let Some(packet_id) = link.backlog.as_deref_mut().and_then(|backlog| backlog.resend.pop_front()) else {
                break;
            };
            let exchange = session.outbound_existing_mut().and_then(|outbound| outbound.window.get_mut(packet_id));
            match exchange {
                Some(Exchange::Published(delivery)) => {
                    let delivery = delivery.clone();
                    self.send_again(now, id, packet_id, &delivery, fx);
                }
                Some(Exchange::Released) => {
                    let kind = AckKind::PubRel;
                    let code = ReasonCode::Success;
                    self.reply(now, id, fx, |out, link| encode_ack(link.version, kind, packet_id, code, None, out));
                }
                Some(Exchange::Settled) | None => {} // settled by a late acknowledgement
            }
            done += 1;
        }
        done
    }

    /// One page of the oldest replay. Returns whether there may be more that can be sent now.
    fn sweep(&mut self, now: Now, id: SessionId, budget: usize, done: &mut usize, fx: &mut Effects) -> bool {
        let (flush, limit) = (self.flush, self.settings.outbox_max_bytes as usize);
        let session = self.sessions.get_mut(id);
        let in_flight = session.outbound().map_or(0, |outbound| usize::from(outbound.window.len()));
        let queued = session.outbound().is_some_and(Outbound::has_queue);
        let Some(link) = session.link.as_deref_mut().filter(|link| link.resends() == 0) else { return false };
        let window = usize::from(link.window_max).saturating_sub(in_flight);
        let mut room_bytes = (limit / 2).saturating_sub(link.outbox_bytes(flush) as usize);
        let Some(mut sweep) = link.backlog.as_deref_mut().and_then(|backlog| backlog.sweeps.pop_front()) else {
            return false;
        };
        let at_most_once = sweep.qos == Qos::AtMostOnce;
        let room = if at_most_once { budget } else { budget.min(window) };
        // Live messages that queue behind a full window go first, or a long replay would let their queue overflow.
        if room == 0 || room_bytes == 0 || queued && !at_most_once {
            link.backlog_mut().sweeps.push_front(sweep);
            return false;
        }
        let mut page: Vec<Arc<Message>> = Vec::new();
        let filter = TopicFilter::parse(&sweep.filter, u16::MAX).expect("it was checked in SUBSCRIBE");
        let scan = self.retained.scan(now, filter, &mut sweep.cursor, SHARE_ENTRIES, sweep.as_of, |message| {
            if sweep.except.is_some() && message.publisher() == sweep.except {
                return ControlFlow::Continue(());
            }
            page.push(Arc::clone(message));
            room_bytes = room_bytes.saturating_sub(message.len_bytes() as usize + HEADER_BYTES);
            if page.len() == room || room_bytes == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let finished = matches!(scan, Scan::Done);
        *done += page.len().max(1);
        for message in &page {
            self.deliver_retained(now, id, &mut Routed::shared(message), sweep.qos, sweep.id, fx);
        }
        if !finished && let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() {
            link.backlog_mut().sweeps.push_front(sweep);
        }
        true
    }

    /// Whether a queue waits for nobody: neither for the client to acknowledge something nor for its socket.
    pub(super) fn queue_can_go_on(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        let blocked = session.link.as_deref().is_none_or(Link::is_blocked);
        !blocked && session.outbound().is_some_and(Outbound::has_queue) && self.has_window(id)
    }

    /// Sends from the queue as far as window, outbox and `budget` go. Returns how many messages were sent.
    pub(super) fn pump(&mut self, now: Now, id: SessionId, budget: usize, fx: &mut Effects) -> usize {
        let mut done = 0;
        while done < budget && self.has_room(id) {
            let Some(delivery) = self.sessions.get_mut(id).outbound_existing_mut().and_then(Outbound::dequeue) else {
                break;
            };
            if delivery.message.is_expired(now) {
                self.counters.dropped(DropReason::Expired); // [MQTT-3.3.2-5]
                continue;
            }
            let message = Arc::clone(&delivery.message);
            let mut routed = Routed::shared(&message);
            self.send_delivery(now, id, delivery, &mut routed, &mut Templates::default(), fx);
            done += 1;
        }
        done
    }
}
